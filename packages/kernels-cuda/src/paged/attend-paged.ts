import { type AttentionSpec, isDense, type PagedBatch } from '@phsa/core'
import { THREADS } from '../attention/kernel-grid.js'
import type { KernelDevice, KernelMemory } from '../attention/kernel-host.js'
import { AttendPagedParams, type AttendParams } from '../attention/kernel-params.js'
import { type ParamValues, packParams } from '../attention/param-layout.js'
import { attendQueryTiles } from './query-tiles.js'

/** Of attend_paged.cu: thread blocks of a query and KV head at most, and visible keys that each takes at least. */
const MOST_SPLITS = 64
const LEAST_KEYS = 64
/** Thread blocks that a multiprocessor runs at once. */
const BLOCKS_OF_MULTIPROCESSOR = 4
/**
 * Of attend_decode_sm90.cu: thread blocks of a cluster, and how many of them a multiprocessor has room for beside the choice of blocks; clusters of a
 * query and KV head at most, and visible keys that a thread block takes at least.
 */
const CLUSTER = 8
const BLOCKS_BESIDE_CHOICE = 2
const MOST_CLUSTERS = 4
const LEAST_KEYS_IN_CLUSTER = 256
/** Query heads of one product. */
const COLUMNS = 8
const FLOAT_BYTES = Float32Array.BYTES_PER_ELEMENT

/** Attention by address; `arrivals` is i32 [ARRIVALS], 0 before and after. */
export type PagedAttendCall = ParamValues<typeof AttendParams> & { readonly arrivals: bigint }

/** Whether attend_paged.cu has the case. */
export function hasAttendPaged({ dtype }: AttentionSpec): boolean {
  return dtype === 'bf16'
}

/**
 * Queues attention over a paged cache (spec 5), many queries by tiles, of few each by as many thread blocks as fill the GPU; all of out and lse is
 * written.
 */
export function attendPaged(
  device: KernelDevice,
  memory: KernelMemory,
  spec: AttentionSpec,
  batch: PagedBatch,
  call: PagedAttendCall,
): void {
  const { queryTokens } = call.sequences
  if (queryTokens === 0 || attendQueryTiles(device, memory, spec, batch, call)) return
  const units = queryTokens * spec.kvHeads
  const group = spec.heads / spec.kvHeads
  const { kernel, splits, blocks, leastKeys } = attendShape(device, spec, units)
  const parts = splits > 1 ? units * splits * group : 0
  memory.scratch(FLOAT_BYTES * parts * (spec.headDim + 2), ({ address: partials }) => {
    device.launch({
      kernel,
      grid: [units * blocks, 1, 1],
      block: THREADS,
      overlaps: ['select_'],
      params: packParams(AttendPagedParams, {
        ...call,
        partials,
        partialSums: partials + BigInt(FLOAT_BYTES * parts * spec.headDim),
        splits,
        leastKeys,
      }),
    })
  })
}

/** Kernel, parts and thread blocks of each query and KV head, and keys that a thread block takes at least. */
function attendShape(device: KernelDevice, spec: AttentionSpec, units: number) {
  const { heads, kvHeads, headDim } = spec
  const many = heads / kvHeads > COLUMNS
  const decode = `attend_decode_sm90_d${headDim}_n1`
  const splitsOf = (blocks: number) => Math.max(1, Math.floor((device.multiprocessors * BLOCKS_OF_MULTIPROCESSOR) / (units * blocks)))
  const haveRoom = units * CLUSTER <= device.multiprocessors * BLOCKS_BESIDE_CHOICE
  // Where nothing is chosen there is nothing to begin beside, and thread blocks by themselves read faster.
  if (!many && !isDense(spec) && haveRoom && device.hasKernel(decode)) {
    const splits = Math.min(MOST_CLUSTERS, splitsOf(CLUSTER))
    return { kernel: decode, splits, blocks: splits * CLUSTER, leastKeys: LEAST_KEYS_IN_CLUSTER }
  }
  const splits = Math.min(MOST_SPLITS, splitsOf(1))
  return { kernel: `attend_paged_d${headDim}_n${many ? 2 : 1}`, splits, blocks: splits, leastKeys: LEAST_KEYS }
}
