import { attentionSpec, type CachedLayer, denseSpec, elementCount } from '@phsa/core'
import type { CudaModelBackend } from '@phsa/kernels-cuda'
import { type DecoderModel, defaultPageTokens } from '@phsa/model'
import { BENCH_PHSA, QWEN3_06B } from '../model/model-plan.js'
import { disposeStep, uploadDecodeStep, writePosition } from '../model/paged-steps.js'
import { layerParameters } from './layer-parameters.js'
import type { LayersPlan, LayersRow } from './step-result.js'
import { timeRecorded } from './time-recorded.js'

/** All layers of a step at once, for one sequence. @returns undefined where the backend has nothing for the case */
export async function timeLayers(
  backend: CudaModelBackend,
  model: DecoderModel,
  { keys, attention }: LayersPlan,
): Promise<LayersRow | undefined> {
  const { memory, paged } = backend
  const { layers: count, heads, kvHeads, headDim, hiddenSize, rmsNormEpsilon: epsilon } = QWEN3_06B
  const sparse = attentionSpec(BENCH_PHSA, { heads, kvHeads, headDim, dtype: 'bf16' })
  const spec = attention === 'dense' ? denseSpec(sparse) : sparse
  const pageTokens = defaultPageTokens(spec.blockSize)
  const pages = Math.ceil((keys + 1) / pageTokens)
  const { batch, positions, marks, ids } = uploadDecodeStep(memory, { sequences: 1, pagesEach: pages, pageTokens, attention }, BENCH_PHSA)
  const step = { batch, positions, marks, ids }
  const wave = (rows: number, width: readonly number[], seed: number) => {
    const shape = [rows, ...width]
    return memory.upload(
      Float32Array.from({ length: elementCount(shape) }, (_, index) => Math.sin((index + seed) * 12.9898) * 3),
      shape,
      'bf16',
    )
  }
  const lambda = memory.upload(new Float32Array(kvHeads).fill(0.5), [kvHeads])
  const x = wave(1, [hiddenSize], 1)
  const held = { k: wave(keys, [kvHeads, headDim], 2), v: wave(keys, [kvHeads, headDim], 3), marks: memory.alloc([keys], 'f32') }
  const filling = {
    ...batch,
    ...{ queryTokens: keys, maxQueries: keys },
    queryStarts: memory.upload(Int32Array.of(0, keys), [2]),
    keyLengths: memory.upload(Int32Array.of(keys), [1]),
  }
  const layers: CachedLayer[] = []
  try {
    for (let layer = 0; layer < count; layer++) {
      const cache = paged.createCache({ spec, pages, pageTokens, lambda })
      layers.push({ ...layerParameters(model, layer), cache })
      paged.append(cache, held.k, held.v, held.marks, filling)
    }
    writePosition(memory, step, keys)
    const run = () => backend.decodeLayers?.({ layers, x, positions, marks, rope: model.ropeFor(0), epsilon, batch })
    const once = run()
    if (!once) return undefined
    once.dispose()
    const { milliseconds } = await timeRecorded(backend, run)
    return { keys, attention, microseconds: (milliseconds / count) * 1e3 }
  } finally {
    for (const { cache } of layers) cache.dispose()
    for (const tensor of [lambda, x, held.k, held.v, held.marks, filling.queryStarts, filling.keyLengths]) tensor.dispose()
    disposeStep(step)
  }
}
