import type { ModelBackend } from '../../contract/model-backend.js'
import type { HostArray } from '../../contract/tensor.js'
import { RandomStream } from '../../random-stream.js'
import type { TestedDType } from '../attention-case.js'
import { normals } from '../attention-inputs.js'
import { evaluate, Probe } from '../probe.js'
import { relativeCheck } from '../relative-error.js'
import { type CaptureBackend, replayed, withCapture } from '../replayed.js'
import { rounded } from '../rounded.js'
import { identityCheck, type TensorCheck } from '../tensor-check.js'
import { tolerancesFor } from '../tolerances.js'

const TOKENS = 24
const WIDTH = 32
const INNER = 48
const VOCABULARY = 40
const EPSILON = 1e-6

/** A small feed-forward model with loss, gradients, an optimizer step and a draw, recorded once and replayed with other inputs, against plain calls. */
export async function checkCapturedOps(backend: CaptureBackend & ModelBackend, dtype: TestedDType): Promise<TensorCheck[]> {
  const { memory, ops } = backend
  const probe = new Probe(backend)
  try {
    const random = new RandomStream(11)
    const values = (count: number) => rounded(normals(random, count, 0.5), dtype)
    const tensor = (...shape: number[]) => probe.changing(values(shape.reduce((product, extent) => product * extent)), shape, dtype)
    const [table, gate, up, down] = [tensor(VOCABULARY, WIDTH), tensor(INNER, WIDTH), tensor(INNER, WIDTH), tensor(WIDTH, INNER)]
    const norm = tensor(WIDTH)
    const ids = probe.changing(drawIds(random), [TOKENS], 'i32')
    const targets = probe.changing(drawIds(random), [TOKENS], 'i32')
    const weights = probe.changing(new Float32Array(TOKENS).fill(1 / TOKENS), [TOKENS], 'f32')
    const control = probe.changing(new Float32Array(TOKENS * 5), [TOKENS, 5], 'f32')
    const state = () => ({
      value: probe.changing(values(WIDTH * INNER), [WIDTH, INNER], 'f32'),
      gradient: probe.changing(new Float32Array(WIDTH * INNER), [WIDTH, INNER], 'f32'),
      mean: probe.changing(new Float32Array(WIDTH * INNER), [WIDTH, INNER], 'f32'),
      variance: probe.changing(new Float32Array(WIDTH * INNER), [WIDTH, INNER], 'f32'),
      weightDecay: 0.1,
    })
    const optimizerControl = probe.changing(Float32Array.of(0.01, 0.1, 0.001), [3], 'f32')
    const parameter = state()
    const step = () => {
      // What is added to and stepped starts from the same values each time.
      memory.zero(parameter.gradient)
      memory.zero(parameter.mean)
      memory.zero(parameter.variance)
      memory.copy(down, parameter.value)
      const x = ops.embedding(table, ids)
      const normed = ops.rmsNorm(x, norm, EPSILON)
      const product = ops.swiglu(ops.linear(normed, gate), ops.linear(normed, up))
      const hidden = ops.add(x, ops.linear(product, down))
      const dHead = memory.alloc([VOCABULARY, WIDTH], 'f32')
      const { loss, dHidden } = ops.crossEntropyBackward({ hidden, head: table, targets, weights }, dHead)
      const dProduct = ops.linearBackward(dHidden, product, down, parameter.gradient)
      ops.adamw([parameter], optimizerControl, ops.gradientNorm([parameter.gradient], 1), { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 })
      const value = memory.alloc([WIDTH, INNER], 'f32')
      memory.copy(parameter.value, value)
      return { loss, dHead, dProduct, value, drawn: ops.sample(ops.linear(hidden, table), control) }
    }
    return await withCapture(backend, step, async (captured) => {
      const checks: TensorCheck[] = []
      for (let index = 0; index < 3; index++) {
        memory.write(ids, drawIds(random))
        memory.write(targets, drawIds(random))
        memory.write(down, values(WIDTH * INNER))
        memory.write(optimizerControl, Float32Array.of(0.01 * (index + 1), 0.1, 0.001))
        const actual: Record<string, HostArray> = await replayed(backend, captured)
        const expected: Record<string, HostArray> = await evaluate(backend, step)
        for (const name of ['loss', 'dHead', 'dProduct', 'value']) {
          checks.push(relativeCheck(`${name}, replay ${index}`, actual[name], expected[name], tolerancesFor(dtype).relative))
        }
        checks.push(identityCheck(`drawn, replay ${index}`, actual.drawn, expected.drawn))
      }
      return checks
    })
  } finally {
    probe.dispose()
  }
}

function drawIds(random: RandomStream): Int32Array {
  return Int32Array.from({ length: TOKENS }, () => random.below(VOCABULARY))
}
