import type { ModelBackend } from '../../contract/model-backend.js'
import type { AdamwParameter, ModelOps } from '../../contract/model-ops.js'
import type { DType, Tensor } from '../../contract/tensor.js'
import { RandomStream } from '../../random-stream.js'
import { normals } from '../attention-inputs.js'
import { evaluate, Probe } from '../probe.js'
import { relativeCheck } from '../relative-error.js'
import { rounded } from '../rounded.js'
import { identityCheck, type TensorCheck } from '../tensor-check.js'
import { STEP_TOLERANCE, tolerancesFor } from '../tolerances.js'

/** An epsilon that counts beside every root of a variance. */
const OPTIONS = { beta1: 0.9, beta2: 0.95, epsilon: 0.05 }
/** Learning rate, and both corrections at the third step. */
const CONTROL = Float32Array.of(1e-2, 1 - 0.9 ** 3, 1 - 0.95 ** 3)

interface HostParameter {
  readonly shape: readonly number[]
  readonly weightDecay: number
  readonly value: Float32Array
  readonly gradient: Float32Array
  readonly mean: Float32Array
  readonly variance: Float32Array
  readonly master: Float32Array
}

/** One step on a matrix with weight decay and a norm weight without; 16-bit values follow an f32 master copy. */
export async function checkAdamw(backend: ModelBackend, reference: ModelBackend, dtype: DType): Promise<TensorCheck[]> {
  const parameters = hostParameters(dtype)
  const norm = Float32Array.of(7, 0.4)
  const expected = await evaluate(reference, () => {
    const upload = (data: Float32Array, shape: readonly number[]) => reference.memory.upload(Float64Array.from(data), shape)
    // The reference steps the master in float64, which is what a 16-bit value must follow.
    const tensors = parameters.map(({ shape, weightDecay, ...host }) => ({
      weightDecay,
      value: upload(host.master, shape),
      gradient: upload(host.gradient, shape),
      mean: upload(host.mean, shape),
      variance: upload(host.variance, shape),
    }))
    reference.ops.adamw(tensors, upload(CONTROL, [3]), upload(norm, [2]), OPTIONS)
    return Object.fromEntries(
      tensors.flatMap(({ value, mean, variance }, index): [string, Tensor][] => [
        [`value ${index}`, value],
        [`mean ${index}`, mean],
        [`variance ${index}`, variance],
      ]),
    )
  })
  const probe = new Probe(backend)
  try {
    const stepped = await step(probe, backend.ops, parameters, norm, dtype)
    const checks: TensorCheck[] = []
    for (const [name, tensor] of Object.entries(stepped)) {
      const stored = await backend.memory.download(tensor)
      const [field, index] = name.split(' ')
      const exact = expected[field === 'master' ? `value ${index}` : name]
      const wide = field !== 'value' || dtype === 'f32'
      checks.push(relativeCheck(name, stored, exact, tolerancesFor(wide ? 'f32' : dtype).relative))
      if (field !== 'value') continue
      const before = parameters[Number(index)].master
      // The step itself, which is small beside the value.
      const change = (values: ArrayLike<number>) => Float64Array.from(before, (old, element) => values[element] - old)
      if (dtype === 'f32') checks.push(relativeCheck(`change of ${name}`, change(stored), change(exact), STEP_TOLERANCE))
      else
        checks.push(
          identityCheck(`${name} is its master rounded`, stored, rounded(await backend.memory.download(stepped[`master ${index}`]), dtype)),
        )
    }
    return [...checks, ...(await probe.canaries())]
  } finally {
    probe.dispose()
  }
}

/** A norm that is not finite (scale 0) leaves values, moments and masters as they were, to the bit. */
export async function checkAdamwSkip(backend: ModelBackend, dtype: DType): Promise<TensorCheck[]> {
  const parameters = hostParameters(dtype)
  parameters[0].gradient[3] = Number.NaN
  const probe = new Probe(backend)
  try {
    const stepped = await step(probe, backend.ops, parameters, Float32Array.of(Number.NaN, 0), dtype)
    const checks: TensorCheck[] = []
    for (const [name, tensor] of Object.entries(stepped)) {
      const [field, index] = name.split(' ') as ['value' | 'mean' | 'variance' | 'master', string]
      checks.push(identityCheck(name, await backend.memory.download(tensor), parameters[Number(index)][field]))
    }
    return [...checks, ...(await probe.canaries())]
  } finally {
    probe.dispose()
  }
}

async function step(
  probe: Probe,
  ops: ModelOps,
  parameters: readonly HostParameter[],
  norm: Float32Array,
  dtype: DType,
): Promise<Record<string, Tensor>> {
  const tensors = parameters.map(
    ({ shape, weightDecay, ...host }): AdamwParameter => ({
      weightDecay,
      value: probe.changing(host.value, shape, dtype),
      gradient: probe.input('gradient', host.gradient, shape, dtype),
      mean: probe.changing(host.mean, shape, 'f32'),
      variance: probe.changing(host.variance, shape, 'f32'),
      ...(dtype === 'f32' ? {} : { master: probe.changing(host.master, shape, 'f32') }),
    }),
  )
  const control = probe.input('control', CONTROL, [3], 'f32')
  const normTensor = probe.input('norm', norm, [2], 'f32')
  await probe.call(() => {
    ops.adamw(tensors, control, normTensor, OPTIONS)
    return {}
  })
  return Object.fromEntries(
    tensors.flatMap(({ value, mean, variance, master }, index): [string, Tensor][] => [
      [`value ${index}`, value],
      [`mean ${index}`, mean],
      [`variance ${index}`, variance],
      ...(master ? [[`master ${index}`, master] as [string, Tensor]] : []),
    ]),
  )
}

function hostParameters(dtype: DType): HostParameter[] {
  const random = new RandomStream(31)
  const parameter = (shape: readonly number[], weightDecay: number): HostParameter => {
    const count = shape.reduce((product, extent) => product * extent, 1)
    const master = normals(random, count)
    return {
      shape,
      weightDecay,
      master,
      value: rounded(master, dtype),
      // Rows of a table that nobody used have neither gradient nor variance, and one that is used for the first time no variance.
      gradient: rounded(normals(random, count), dtype).map((value, index) => (index % 5 === 2 ? 0 : value)),
      mean: normals(random, count, 0.3),
      variance: normals(random, count).map((value, index) => (index % 5 === 2 || index % 7 === 3 ? 0 : 0.1 + value * value)),
    }
  }
  return [parameter([13, 29], 0.1), parameter([31], 0)]
}
