import type { AttentionSpec } from '@phsa/core'
import attendFewSource from '../../kernels/attend_few.wgsl?raw'
import attendKeysSource from '../../kernels/attend_keys.wgsl?raw'
import attendMergeSource from '../../kernels/attend_merge.wgsl?raw'
import gridSource from '../../kernels/grid.wgsl?raw'
import sequencesSource from '../../kernels/sequences.wgsl?raw'
import { read, write } from '../device/bindings.js'
import { gridOf } from '../device/grid.js'
import { packParams } from '../device/param-layout.js'
import type { AttendCall } from './attend.js'
import type { AttentionHost } from './attention-host.js'
import { Rules, Sequences } from './call-params.js'

/** `Params` of attend_keys.wgsl. */
export const AttendFewParams = { sequences: Sequences, rules: Rules } as const
/** `Params` of attend_merge.wgsl. */
export const AttendMergeParams = { rows: 'u32' } as const

const GRID = { file: 'grid.wgsl', source: gridSource }
const FEW = {
  name: 'attend_few',
  parts: [
    GRID,
    { file: 'sequences.wgsl', source: sequencesSource },
    { file: 'attend_keys.wgsl', source: attendKeysSource },
    { file: 'attend_few.wgsl', source: attendFewSource },
  ],
}
const MERGE = { name: 'attend_merge', parts: [GRID, { file: 'attend_merge.wgsl', source: attendMergeSource }] }

/** Most heads of a workgroup of attend_few.wgsl, and keys that it has at least to be worth it. */
const MOST_HEADS = 8
const LEAST_KEYS = 32
/** Threads of attend_merge.wgsl, each with four dimensions. */
const MERGE_THREADS = 128
/** Workgroups that keep a large device busy; more shares than that of few queries are no faster. */
const BUSY_WORKGROUPS = 1024
const MOST_SPLITS = 64

/** Queues attention of few queries, packed or paged: their keys are split over workgroups, and the parts joined (spec 5, 6). */
export function queueAttendFew({ device, memory }: AttentionHost, { heads, kvHeads, headDim }: AttentionSpec, call: AttendCall): void {
  const { sequences, rules, element } = call
  const group = heads / kvHeads
  const teamHeads = Math.min(MOST_HEADS, group)
  const rows = sequences.queryTokens * heads
  const items = sequences.queryTokens * kvHeads * Math.ceil(group / teamHeads)
  if (items === 0) return
  const mostKeys = sequences.isPaged === 1 ? sequences.pagesPerSequence * sequences.pageTokens : sequences.keyTokens
  const splits = powerOfTwo(Math.min(MOST_SPLITS, BUSY_WORKGROUPS / items, mostKeys / LEAST_KEYS))
  memory.scratch(rows * splits * (headDim + 4) * Float32Array.BYTES_PER_ELEMENT, (partials) => {
    device.launch({
      kernel: FEW,
      element,
      constants: { HEAD_DIM: headDim, GROUP: group, HEADS: teamHeads, SPLITS: splits, LANES: headDim === 32 ? 2 : 4 },
      bindings: [read(call.numbers), read(call.q), read(call.k), read(call.v), read(call.selected), write(partials)],
      params: packParams(AttendFewParams, { sequences, rules }),
      grid: gridOf(items * splits),
    })
    device.launch({
      kernel: MERGE,
      element,
      constants: { HEAD_DIM: headDim, SPLITS: splits },
      bindings: [read(partials), write(call.out), write(call.lse)],
      params: packParams(AttendMergeParams, { rows }),
      grid: gridOf(Math.ceil(rows / (MERGE_THREADS / (headDim / 4)))),
    })
  })
}

/** The largest power of two up to a number, at least 1: kernels are compiled for it, so there are few of them. */
function powerOfTwo(most: number): number {
  return 2 ** Math.max(0, Math.floor(Math.log2(most)))
}
