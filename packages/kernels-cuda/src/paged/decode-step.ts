import { type AttentionSpec, isDense, type PagedBatch } from '@phsa/core'
import { rulesOf } from '../attention/call-params.js'
import type { KernelDevice } from '../attention/kernel-host.js'
import { type AttendParams, DecodeStepParams } from '../attention/kernel-params.js'
import { type ParamValues, packParams } from '../attention/param-layout.js'
import type { NewTokens } from './append-tokens.js'
import type { PagedAddresses } from './cuda-paged-cache.js'
import { hasSelectPaged } from './select-paged.js'

/** Threads of decode_step.cuh. */
const THREADS = 256
/** Query heads of one product. */
const COLUMNS = 8
/** Blocks of a product. */
const TILE = 16
/** Thread blocks of a cluster, the most first: as many as leave each a multiprocessor. */
const CLUSTERS = [8, 4, 2]
/**
 * Contexts at most. Longer ones have so many blocks that sharing them is worth an exchange, and where attention is dense so many keys: at 8,064 keys three
 * launches were faster, see ../../lab/NOTES.md.
 */
const MOST_BLOCKS = 512
const MOST_KEYS = 4096

/** A step by address, all of whose results are written. */
export type DecodeStepCall = NewTokens & Pick<ParamValues<typeof AttendParams>, 'q' | 'selected' | 'out' | 'lse'>

/** Whether decode_step.cuh has the case: one query a sequence, and a context that is not long. */
export function hasDecodeStep(device: KernelDevice, spec: AttentionSpec, { maxQueries, maxKeys }: PagedBatch): boolean {
  const { heads, kvHeads, headDim, blockSize } = spec
  const chooses = hasSelectPaged(spec) || (isDense(spec) && spec.dtype === 'bf16' && spec.representatives === 1)
  const isShort = maxKeys <= MOST_KEYS && Math.ceil(maxKeys / blockSize) <= MOST_BLOCKS
  return chooses && maxQueries === 1 && heads / kvHeads <= COLUMNS && isShort && device.hasKernel(`attend_step_d${headDim}`)
}

/** Queues a whole step of attention, for a case that `hasDecodeStep` has found to be one: the new tokens into the cache, the choice, attention. */
export function decodeStep(
  device: KernelDevice,
  spec: AttentionSpec,
  batch: PagedBatch,
  cache: PagedAddresses,
  call: DecodeStepCall,
): void {
  const { heads, kvHeads, headDim, blockSize } = spec
  const { q, selected, out, lse, sequences } = call
  const units = sequences.queryTokens * kvHeads
  const kernelOf = (cluster: number) => `attend_step_sm90_d${headDim}_c${cluster}`
  const cluster = CLUSTERS.find((cluster) => units * cluster <= device.multiprocessors && device.hasKernel(kernelOf(cluster)))
  const capacity = Math.ceil(batch.maxKeys / blockSize / TILE) * TILE
  const rules = rulesOf(spec, batch.maxTopK)
  const { keyPages, valuePages } = cache
  device.launch({
    kernel: cluster === undefined ? `attend_step_d${headDim}` : kernelOf(cluster),
    grid: [units * (cluster ?? 1), 1, 1],
    block: THREADS,
    sharedBytes: (heads / kvHeads) * capacity * Float32Array.BYTES_PER_ELEMENT,
    overlaps: ['heads_rope'],
    params: packParams(DecodeStepParams, {
      attention: {
        ...{ q, k: keyPages, v: valuePages, selected, out, lse, sequences, rules },
        ...{ partials: 0n, partialSums: 0n, arrivals: 0n, splits: 1, leastKeys: 0 },
      },
      tokens: { ...call, ...cache, rules, copyBlocks: 0, sumBlocks: 0 },
      selected,
      capacity,
    }),
  })
}
