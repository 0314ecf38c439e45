import {
  composedHeads,
  composedLayerEnd,
  elementCount,
  type FinishLayerInput,
  finishLayer,
  type ProjectHeadsInput,
  projectHeads,
  type Tensor,
} from '@phsa/core'
import { boundedCheck, relativeError, type TensorCheck } from '@phsa/core/testing'
import type { CudaModelBackend } from '@phsa/kernels-cuda'
import type { DecoderConfig, DecoderModel } from '@phsa/model'
import { layerParameters } from './layer-parameters.js'
import type { HalfRow } from './step-result.js'
import { timeRecorded } from './time-recorded.js'

/** Between two roundings of bf16 in other places, as the conformance suite's bound for one. */
const BOUND = 2e-2

/** Inputs of both halves of each layer for so many tokens. */
interface Halves {
  readonly heads: readonly ProjectHeadsInput[]
  readonly ends: readonly FinishLayerInput[]
  dispose(): void
}

/** One layer after the other, each with weights of its own, so that L2 holds none: the backend's own operations, the composition, and both with almost no weights. */
export async function timeHalves(backend: CudaModelBackend, model: DecoderModel, rows: number): Promise<HalfRow[]> {
  const { memory } = backend
  const { layers } = model.config
  const halves = halvesOf(backend, model, rows)
  const small = smallHalves(backend, model, rows)
  try {
    const checks = await compare(backend, halves)
    const row = async (name: string, inputs: readonly { readonly weights: readonly Tensor[] }[], run: () => void): Promise<HalfRow> => {
      const bytes = inputs.reduce((sum, { weights }) => sum + weights.reduce((total, { shape }) => total + 2 * elementCount(shape), 0), 0)
      const { milliseconds } = await timeRecorded(backend, run)
      return { name, rows, microseconds: (milliseconds / layers) * 1e3, bytes: bytes / layers, checks }
    }
    const headWeights = (inputs: readonly ProjectHeadsInput[]) => inputs.map(({ q, k, v }) => ({ weights: [q, k, v] }))
    const endWeights = (inputs: readonly FinishLayerInput[]) => inputs.map(({ o, gate, up, down }) => ({ weights: [o, gate, up, down] }))
    const each =
      <T>(inputs: readonly T[], run: (input: T) => unknown) =>
      () => {
        for (const input of inputs) memory.scope(() => void run(input))
      }
    return [
      await row(
        'heads',
        headWeights(halves.heads),
        each(halves.heads, (input) => projectHeads(backend, input)),
      ),
      await row(
        'heads, composed',
        headWeights(halves.heads),
        each(halves.heads, (input) => composedHeads(backend, input)),
      ),
      await row(
        'heads, almost no weights',
        headWeights(small.heads),
        each(small.heads, (input) => projectHeads(backend, input)),
      ),
      await row(
        'end',
        endWeights(halves.ends),
        each(halves.ends, (input) => finishLayer(backend, input)),
      ),
      await row(
        'end, composed',
        endWeights(halves.ends),
        each(halves.ends, (input) => composedLayerEnd(backend, input)),
      ),
      await row(
        'end, almost no weights',
        endWeights(small.ends),
        each(small.ends, (input) => finishLayer(backend, input)),
      ),
    ]
  } finally {
    halves.dispose()
    small.dispose()
  }
}

async function compare(backend: CudaModelBackend, { heads, ends }: Halves): Promise<TensorCheck[]> {
  const { memory } = backend
  const checks: TensorCheck[] = []
  const check = async (name: string, own: Tensor, composed: Tensor) => {
    const error = relativeError(await memory.download(own), await memory.download(composed))
    checks.push(boundedCheck(name, error, BOUND))
    own.dispose()
    composed.dispose()
  }
  const own = projectHeads(backend, heads[0])
  const { q, k, v } = memory.scope(() => {
    const { q, k, v } = composedHeads(backend, heads[0])
    return { q, k, v }
  })
  await check('q', own.q, q)
  await check('k', own.k, k)
  await check('v', own.v, v)
  await check(
    'output',
    finishLayer(backend, ends[0]),
    memory.scope(() => composedLayerEnd(backend, ends[0]).output),
  )
  return checks
}

function halvesOf(backend: CudaModelBackend, model: DecoderModel, rows: number): Halves {
  return inputsOf(
    backend,
    model,
    rows,
    Array.from({ length: model.config.layers }, (_, layer) => layerParameters(model, layer)),
  )
}

/** Heads, widths and launches as they are, but 8 columns or rows of most weights: what is left is waiting. */
function smallHalves(backend: CudaModelBackend, model: DecoderModel, rows: number): Halves {
  const { headDim } = model.config
  const width = 8
  const weight = (...shape: number[]) => backend.memory.alloc(shape, 'bf16')
  const parameters = {
    ...layerParameters(model, 0),
    inputNorm: weight(width),
    postNorm: weight(width),
    q: weight(model.config.heads * headDim, width),
    k: weight(model.config.kvHeads * headDim, width),
    v: weight(model.config.kvHeads * headDim, width),
    o: weight(width, model.config.heads * headDim),
    gate: weight(width, width),
    up: weight(width, width),
    down: weight(width, width),
  }
  const { inputNorm, postNorm, q, k, v, o, gate, up, down } = parameters
  const made = [inputNorm, postNorm, q, k, v, o, gate, up, down]
  const inputs = inputsOf(backend, model, rows, Array(model.config.layers).fill(parameters), width)
  return {
    ...inputs,
    dispose: () => {
      inputs.dispose()
      for (const tensor of made) tensor.dispose()
    },
  }
}

function inputsOf(
  { memory }: CudaModelBackend,
  model: DecoderModel,
  rows: number,
  layers: readonly ReturnType<typeof layerParameters>[],
  width = model.config.hiddenSize,
): Halves {
  const { heads, headDim, rmsNormEpsilon: epsilon }: DecoderConfig = model.config
  const wave = (shape: readonly number[]) =>
    memory.upload(
      Float32Array.from({ length: elementCount(shape) }, (_, index) => Math.sin(index * 12.9898)),
      shape,
      'bf16',
    )
  const x = wave([rows, width])
  const out = wave([rows, heads, headDim])
  const positions = memory.upload(
    Int32Array.from({ length: rows }, (_, row) => row),
    [rows],
  )
  const rope = model.ropeFor(rows)
  return {
    heads: layers.map(({ inputNorm: norm, q, k, v, qNorm, kNorm }) => ({ x, norm, q, k, v, qNorm, kNorm, positions, rope, epsilon })),
    ends: layers.map(({ o, postNorm: norm, gate, up, down }) => ({ x, out, o, norm, gate, up, down, epsilon })),
    dispose: () => {
      for (const tensor of [x, out, positions]) tensor.dispose()
    },
  }
}
