import type { AttentionSpec } from '@phsa/core'
import { THREADS } from '../attention/kernel-grid.js'
import type { KernelDevice, KernelMemory } from '../attention/kernel-host.js'
import { AttendPagedParams, type AttendParams } from '../attention/kernel-params.js'
import { type ParamValues, packParams } from '../attention/param-layout.js'

/** Of attend_paged.cu: thread blocks of a query and KV head at most, and visible keys that each takes at least. */
const MOST_SPLITS = 64
const LEAST_KEYS = 64
/** Thread blocks that a multiprocessor runs at once. */
const BLOCKS_OF_MULTIPROCESSOR = 4
/** Of attend_decode_sm90.cu: thread blocks of a cluster, clusters of a query and KV head at most. */
const CLUSTER = 8
const MOST_CLUSTERS = 4
/** Query heads of one product. */
const COLUMNS = 8
const FLOAT_BYTES = Float32Array.BYTES_PER_ELEMENT

/** Attention by address; `arrivals` is i32 [ARRIVALS], 0 before and after. */
export type PagedAttendCall = ParamValues<typeof AttendParams> & { readonly arrivals: bigint }

/** Whether attend_paged.cu has the case. */
export function hasAttendPaged({ dtype }: AttentionSpec): boolean {
  return dtype === 'bf16'
}

/** Queues attention over a paged cache (spec 5), each query by as many thread blocks as fill the GPU; all of out and lse is written. */
export function attendPaged(device: KernelDevice, memory: KernelMemory, spec: AttentionSpec, call: PagedAttendCall): void {
  const { queryTokens } = call.sequences
  if (queryTokens === 0) return
  const units = queryTokens * spec.kvHeads
  const group = spec.heads / spec.kvHeads
  const { kernel, splits, blocks } = attendShape(device, spec, units)
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
        leastKeys: LEAST_KEYS,
      }),
    })
  })
}

/** Kernel, and parts and thread blocks of each query and KV head. */
function attendShape(device: KernelDevice, { heads, kvHeads, headDim }: AttentionSpec, units: number) {
  const many = heads / kvHeads > COLUMNS
  const decode = `attend_decode_sm90_d${headDim}_n1`
  if (!many && units * CLUSTER <= device.multiprocessors && device.hasKernel(decode)) {
    return { kernel: decode, splits: MOST_CLUSTERS, blocks: MOST_CLUSTERS * CLUSTER }
  }
  const splits = Math.min(MOST_SPLITS, Math.max(1, Math.floor((device.multiprocessors * BLOCKS_OF_MULTIPROCESSOR) / units)))
  return { kernel: `attend_paged_d${headDim}_n${many ? 2 : 1}`, splits, blocks: splits }
}
