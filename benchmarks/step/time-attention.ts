import {
  type AttentionSpec,
  attendStep,
  attentionSpec,
  denseSpec,
  elementCount,
  type PagedBatch,
  type PagedCache,
  type PagedTokens,
} from '@phsa/core'
import { boundedCheck, identityCheck, relativeError, type TensorCheck } from '@phsa/core/testing'
import type { CudaModelBackend } from '@phsa/kernels-cuda'
import { defaultPageTokens } from '@phsa/model'
import { type AttentionName, BENCH_PHSA, QWEN3_06B } from '../model/model-plan.js'
import { disposeStep, uploadDecodeStep, writePosition } from '../model/paged-steps.js'
import type { AttentionRow } from './step-result.js'
import { timeRecorded } from './time-recorded.js'

/** Between two orders of addition in bf16. */
const BOUND = 1e-2
/** Elements after which inputs repeat: no multiple of a row. */
const PERIOD = 1_000_003

/** Which attention: of one token a sequence. */
export interface AttentionPlan {
  readonly batch: number
  /** A multiple of the block size: the token that is decoded over and over begins a block, so appending it again changes nothing. */
  readonly keys: number
  readonly attention: AttentionName
}

/** Attention of all layers, one cache after the other, so that L2 holds none: at once, in its three parts, and each of these by itself. */
export async function timeAttention(
  backend: CudaModelBackend,
  { batch: sequences, keys, attention }: AttentionPlan,
): Promise<AttentionRow[]> {
  const { memory, paged } = backend
  const { layers, heads, kvHeads, headDim } = QWEN3_06B
  const sparse = attentionSpec(BENCH_PHSA, { heads, kvHeads, headDim, dtype: 'bf16' })
  const spec: AttentionSpec = attention === 'dense' ? denseSpec(sparse) : sparse
  const pageTokens = defaultPageTokens(spec.blockSize)
  const pagesEach = Math.ceil((keys + 1) / pageTokens)
  const { batch, ...step } = uploadDecodeStep(memory, { sequences, pagesEach, pageTokens, attention }, BENCH_PHSA)
  const wave = (rows: number, count: number, seed: number) => {
    const shape = [rows, count, headDim]
    const values = new Float32Array(elementCount(shape))
    const period = Float32Array.from({ length: Math.min(PERIOD, values.length) }, (_, index) => Math.sin((index + seed) * 12.9898) * 3)
    for (let at = 0; at < values.length; at += PERIOD) values.set(period.subarray(0, values.length - at), at)
    return memory.upload(values, shape, 'bf16')
  }
  const tokens: PagedTokens = {
    q: wave(sequences, heads, 1),
    k: wave(sequences, kvHeads, 2),
    v: wave(sequences, kvHeads, 3),
    marks: step.marks,
  }
  const lambda = memory.upload(new Float32Array(kvHeads).fill(0.5), [kvHeads])
  const filling = fillingBatch(backend, batch, sequences, keys)
  const held = {
    k: wave(sequences * keys, kvHeads, 4),
    v: wave(sequences * keys, kvHeads, 5),
    marks: memory.alloc([sequences * keys], 'f32'),
  }
  const caches: PagedCache[] = []
  try {
    while (caches.length < layers) {
      const cache = paged.createCache({ spec, pages: pagesEach * sequences, pageTokens, lambda })
      caches.push(cache)
      paged.append(cache, held.k, held.v, held.marks, filling)
    }
    writePosition(memory, { ...step, batch }, keys)
    const checks = await compare(backend, caches[0], tokens, batch)
    const { q, k, v, marks } = tokens
    const selected = paged.selectBlocks(caches[0], q, batch)
    const parts = { ...paged, step: undefined }
    const runs: Record<string, (cache: PagedCache) => unknown> = {
      'at once': (cache) => attendStep(paged, cache, tokens, batch),
      'append, select, attend': (cache) => attendStep(parts, cache, tokens, batch),
      append: (cache) => paged.append(cache, k, v, marks, batch),
      select: (cache) => paged.selectBlocks(cache, q, batch),
      attend: (cache) => paged.attend(cache, q, selected, batch),
    }
    const rows: AttentionRow[] = []
    for (const [name, run] of Object.entries(runs)) {
      const { milliseconds } = await timeRecorded(backend, () => {
        for (const cache of caches) memory.scope(() => void run(cache))
      })
      rows.push({ name, batch: sequences, keys, attention, microseconds: (milliseconds / layers) * 1e3, checks })
    }
    selected.dispose()
    return rows
  } finally {
    for (const cache of caches) cache.dispose()
    for (const tensor of [tokens.q, tokens.k, tokens.v, lambda, held.k, held.v, held.marks, filling.queryStarts, filling.keyLengths])
      tensor.dispose()
    disposeStep({ ...step, batch })
  }
}

/** The keys that all sequences have before: their batch but for the rows. */
function fillingBatch({ memory }: CudaModelBackend, batch: PagedBatch, sequences: number, keys: number): PagedBatch {
  return {
    ...batch,
    queryTokens: sequences * keys,
    maxQueries: keys,
    queryStarts: memory.upload(
      Int32Array.from({ length: sequences + 1 }, (_, sequence) => sequence * keys),
      [sequences + 1],
    ),
    keyLengths: memory.upload(new Int32Array(sequences).fill(keys), [sequences]),
  }
}

/** At once against the parts. */
async function compare(
  { memory, paged }: CudaModelBackend,
  cache: PagedCache,
  tokens: PagedTokens,
  batch: PagedBatch,
): Promise<TensorCheck[]> {
  const own = attendStep(paged, cache, tokens, batch)
  const parts = attendStep({ ...paged, step: undefined }, cache, tokens, batch)
  const checks = [
    identityCheck('selected', await memory.download(own.selected), await memory.download(parts.selected)),
    boundedCheck('out', relativeError(await memory.download(own.out), await memory.download(parts.out)), BOUND),
    boundedCheck('lse', relativeError(await memory.download(own.lse), await memory.download(parts.lse)), BOUND),
  ]
  for (const output of [own, parts]) for (const tensor of [output.selected, output.out, output.lse]) tensor.dispose()
  return checks
}
