import { attentionSpec, type ModelBackend, type PagedBatch, phsaConfig, RandomStream, type ScoreKind } from '@phsa/core'

/** Length of the sequence. */
export const KEYS = 700

/** What each query selects when the sequence comes in steps of these sizes. All keys are nearly equal: scores differ in their last bits only. */
export async function splitSelection(backend: ModelBackend, score: ScoreKind, group: number, steps: readonly number[]): Promise<number[]> {
  const { memory, paged } = backend
  const base = phsaConfig({ blockSize: 8, initTokens: 8, localTokens: 8, topK: 4, representatives: score === 'overlap' ? 2 : 1 })
  const config = { ...base, score, ...(score === 'overlap' ? { blockSize: 32, initTokens: 32, localTokens: 32 } : {}) }
  const spec = attentionSpec(config, { heads: group, kvHeads: 1, headDim: 32, dtype: 'f32' })
  const random = new RandomStream(5)
  const centre = Float32Array.from({ length: spec.headDim }, () => random.normal())
  const k = Float32Array.from({ length: KEYS * spec.headDim }, (_, at) => centre[at % spec.headDim] + 2e-7 * random.normal())
  const q = Float32Array.from({ length: KEYS * group * spec.headDim }, () => random.normal())
  const integers = (values: readonly number[], shape: readonly number[] = [values.length]) => memory.upload(Int32Array.from(values), shape)
  const cache = paged.createCache({ spec, pages: 11, pageTokens: 64, lambda: memory.upload(Float32Array.of(1), [1]) })
  const found: number[] = []
  for (let first = 0, step = 0; first < KEYS; first += steps[step++ % steps.length]) {
    const end = Math.min(KEYS, first + steps[step % steps.length])
    const rows = (values: Float32Array, heads: number) => {
      const width = heads * spec.headDim
      return memory.upload(values.slice(first * width, end * width), [end - first, heads, spec.headDim])
    }
    const batch: PagedBatch = {
      sequences: 1,
      queryTokens: end - first,
      maxQueries: end - first,
      maxKeys: KEYS,
      maxTopK: spec.topK,
      queryStarts: integers([0, end - first]),
      keyLengths: integers([end]),
      pageTable: integers([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [1, 11]),
      topK: integers([spec.topK]),
      denseBelow: integers([0]),
    }
    paged.append(cache, rows(k, 1), rows(k, 1), memory.alloc([end - first], 'f32'), batch)
    found.push(...(await memory.download(paged.selectBlocks(cache, rows(q, group), batch))))
  }
  cache.dispose()
  return found
}
