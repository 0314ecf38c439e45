import type { AttentionSpec } from '@phsa/core'
import { attendTiles, hasAttendTiles } from './attend-tiles.js'
import { headsAtOnce, kernelName } from './call-params.js'
import { blocksOfWarps, THREADS } from './kernel-grid.js'
import type { KernelDevice, KernelMemory } from './kernel-host.js'
import { AttendParams } from './kernel-params.js'
import { type ParamValues, packParams } from './param-layout.js'

/** Queues attention over forced and selected blocks, packed or paged (spec 5); all of out and lse is written. */
export function attend(device: KernelDevice, memory: KernelMemory, spec: AttentionSpec, params: ParamValues<typeof AttendParams>): void {
  const { keyStarts, blocks } = params.sequences
  if (keyStarts !== 0n && hasAttendTiles(device, spec, blocks)) {
    attendTiles(device, memory, spec, { ...params, maxBlocks: blocks })
  } else {
    device.launch({ ...queryMajor('attend', spec, params.sequences.queryTokens), params: packParams(AttendParams, params) })
  }
}

/** Kernel, grid and block where a warp owns one query and a few heads of one KV head. */
export function queryMajor(operation: string, spec: AttentionSpec, queryTokens: number) {
  const heads = headsAtOnce(spec)
  const chunks = Math.ceil(spec.heads / spec.kvHeads / heads)
  return {
    kernel: `${kernelName(operation, spec)}_h${heads}`,
    grid: [blocksOfWarps(queryTokens), spec.kvHeads * chunks, 1],
    block: THREADS,
  } as const
}
