import {
  attendStep,
  attentionSpec,
  type CachedLayer,
  type CapturedStep,
  type DecodeLayersInput,
  denseSpec,
  finishLayer,
  type PagedBatch,
  type PagedCache,
  projectHeads,
  RandomStream,
  type Tensor,
} from '@phsa/core'
import { boundedCheck, identityCheck, relativeError, type TensorCheck } from '@phsa/core/testing'
import type { CudaModelBackend } from '@phsa/kernels-cuda'
import { type DecoderModel, defaultPageTokens } from '@phsa/model'
import { BENCH_PHSA, QWEN3_06B } from '../model/model-plan.js'
import { layerParameters } from './layer-parameters.js'
import type { LayersCheck } from './step-result.js'

/** Between roundings of bf16 in other places, of three layers' changes to their input. */
const BOUND = 2e-2
const MOST_KEYS = 4096
/** Keys before the first of some steps. */
const HELD = [0, 14, 15, 16, 62, 640, 1000, 1022, 2040, 4000]
const STEPS = 4

/**
 * All layers at once against their parts, over several steps of one sequence from contexts of many lengths on: two layers that select blocks and a dense one between
 * them, each way with caches of its own whose pages lie in no order. What is recorded once is replayed for all of them. In the end both caches must serve the parts alike.
 */
export async function checkLayers(backend: CudaModelBackend, model: DecoderModel): Promise<LayersCheck[]> {
  const { memory, paged } = backend
  const { heads, kvHeads, headDim, hiddenSize } = QWEN3_06B
  const sparse = attentionSpec(BENCH_PHSA, { heads, kvHeads, headDim, dtype: 'bf16' })
  const pageTokens = defaultPageTokens(sparse.blockSize)
  const pages = MOST_KEYS / pageTokens
  const lambda = memory.upload(
    Float32Array.from({ length: kvHeads }, (_, head) => head / kvHeads),
    [kvHeads],
  )
  const layersOf = (): CachedLayer[] =>
    [sparse, denseSpec(sparse), sparse].map((spec, layer) => ({
      ...layerParameters(model, layer),
      cache: paged.createCache({ spec, pages, pageTokens, lambda }),
    }))
  const [own, parts] = [layersOf(), layersOf()]
  const stream = new RandomStream(7)
  const numbers = (count: number, scale: number) => Float32Array.from({ length: count }, () => (2 * stream.uniform() - 1) * scale)
  const held = { k: numbers(MOST_KEYS * kvHeads * headDim, 2), v: numbers(MOST_KEYS * kvHeads * headDim, 1) }
  const q = memory.upload(numbers(heads * headDim, 2), [1, heads, headDim], 'bf16')
  const table = Int32Array.from({ length: pages }, (_, page) => (page * 37 + 11) % pages)
  const integers = (...values: number[]) => memory.upload(Int32Array.from(values), [values.length])
  const batch: PagedBatch = {
    ...{ sequences: 1, queryTokens: 1, maxQueries: 1, maxKeys: MOST_KEYS, maxTopK: BENCH_PHSA.topK },
    ...{ queryStarts: integers(0, 1), keyLengths: integers(1), pageTable: memory.upload(table, [1, pages]) },
    ...{ topK: integers(BENCH_PHSA.topK), denseBelow: integers(0) },
  }
  const x = memory.alloc([1, hiddenSize], 'bf16')
  const [positions, marks] = [integers(0), memory.upload(new Float32Array(1), [1])]
  model.reservePositions(MOST_KEYS)
  const input = (layers: readonly CachedLayer[]): DecodeLayersInput => ({
    ...{ layers, x, positions, marks, batch, rope: model.ropeFor(0), epsilon: QWEN3_06B.rmsNormEpsilon },
  })
  const checks: LayersCheck[] = []
  let recorded: CapturedStep<Tensor> | undefined
  try {
    for (const first of HELD) {
      const errors: number[] = []
      for (const layers of [own, parts]) fill(backend, layers, held, batch, first)
      for (let token = first; token < Math.min(first + STEPS, MOST_KEYS); token++) {
        memory.write(x, numbers(hiddenSize, 1))
        memory.write(positions, Int32Array.of(token))
        memory.write(batch.keyLengths, Int32Array.of(token + 1))
        memory.write(marks, Float32Array.of(token % 3 === 0 ? 1 : 0))
        if (!recorded) {
          const once = backend.decodeLayers?.(input(own))
          if (!once) return [{ name: 'not taken', keys: 0, checks: [] }]
          once.dispose()
          recorded = await backend.capture(() => backend.decodeLayers!(input(own))!)
        }
        recorded.replay()
        const expected = memory.scope(() => composed(backend, input(parts)))
        errors.push(changeError(await memory.download(x), await memory.download(recorded.result), await memory.download(expected)))
        expected.dispose()
      }
      checks.push({
        name: 'steps',
        keys: first,
        checks: [boundedCheck('change', Math.max(...errors), BOUND), ...(await sameCaches(backend, own, parts, batch, q))],
      })
    }
    return checks
  } finally {
    recorded?.dispose()
    for (const { cache } of [...own, ...parts]) cache.dispose()
    for (const tensor of [
      lambda,
      q,
      x,
      positions,
      marks,
      batch.queryStarts,
      batch.keyLengths,
      batch.pageTable,
      batch.topK,
      batch.denseBelow,
    ])
      tensor.dispose()
  }
}

/** Keys that a sequence has before its steps, from the first on. */
function fill(
  { memory, paged }: CudaModelBackend,
  layers: readonly CachedLayer[],
  held: Readonly<Record<'k' | 'v', Float32Array>>,
  batch: PagedBatch,
  count: number,
): void {
  if (count === 0) return
  memory.scope(() => {
    const { kvHeads, headDim } = QWEN3_06B
    const rows = (values: Float32Array) => memory.upload(values.subarray(0, count * kvHeads * headDim), [count, kvHeads, headDim], 'bf16')
    const [k, v] = [rows(held.k), rows(held.v)]
    const marks = memory.upload(
      Float32Array.from({ length: count }, (_, row) => (row % 5 === 0 ? 1 : 0)),
      [count],
    )
    const filling = {
      ...batch,
      ...{ queryTokens: count, maxQueries: count, queryStarts: memory.upload(Int32Array.of(0, count), [2]) },
      keyLengths: memory.upload(Int32Array.of(count), [1]),
    }
    for (const { cache } of layers) paged.append(cache, k, v, marks, filling)
  })
}

/** What `decodeLayers` does, by launches of its own for every part. */
function composed(backend: CudaModelBackend, { layers, x, positions, marks, rope, epsilon, batch }: DecodeLayersInput): Tensor {
  const parts = { ...backend.paged, step: undefined }
  return layers.reduce((input, { inputNorm, postNorm, cache, ...layer }) => {
    const heads = projectHeads(backend, { ...layer, x: input, norm: inputNorm, positions, rope, epsilon })
    const { out } = attendStep(parts, cache, { ...heads, marks }, batch)
    return finishLayer(backend, { ...layer, x: input, out, norm: postNorm, epsilon })
  }, x)
}

/** Relative error of what the layers add to their input. */
function changeError(x: ArrayLike<number>, own: ArrayLike<number>, expected: ArrayLike<number>): number {
  const change = (of: ArrayLike<number>) => Float32Array.from(of, (value, index) => value - x[index])
  return relativeError(change(own), change(expected))
}

/** Choice and attention over both caches, for one query. */
async function sameCaches(
  { memory, paged }: CudaModelBackend,
  own: readonly CachedLayer[],
  parts: readonly CachedLayer[],
  batch: PagedBatch,
  q: Tensor,
): Promise<TensorCheck[]> {
  const checks: TensorCheck[] = []
  for (const [layer, { cache }] of own.entries()) {
    const run = (cache: PagedCache) => {
      const selected = paged.selectBlocks(cache, q, batch)
      return { selected, ...paged.attend(cache, q, selected, batch) }
    }
    const [a, b] = [run(cache), run(parts[layer].cache)]
    checks.push(
      identityCheck(`selected ${layer}`, await memory.download(a.selected), await memory.download(b.selected)),
      boundedCheck(`out ${layer}`, relativeError(await memory.download(a.out), await memory.download(b.out)), BOUND),
    )
    for (const { selected, out, lse } of [a, b]) for (const tensor of [selected, out, lse]) tensor.dispose()
  }
  return checks
}
