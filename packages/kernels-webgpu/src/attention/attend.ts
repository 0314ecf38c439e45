import type { AttendInput, AttendOutput, AttentionSpec } from '@phsa/core'
import attendKeysSource from '../../kernels/attend_keys.wgsl?raw'
import attendSelectedSource from '../../kernels/attend_selected.wgsl?raw'
import attendTilesSource from '../../kernels/attend_tiles.wgsl?raw'
import gridSource from '../../kernels/grid.wgsl?raw'
import queryTilesSource from '../../kernels/query_tiles.wgsl?raw'
import sequencesSource from '../../kernels/sequences.wgsl?raw'
import { read, write } from '../device/bindings.js'
import { gridOf } from '../device/grid.js'
import type { BufferSlice } from '../device/kernel-launch.js'
import { type ParamValues, packParams } from '../device/param-layout.js'
import type { ElementType, Kernel } from '../device/shader-part.js'
import { queueAttendFew } from './attend-few.js'
import type { AttentionHost } from './attention-host.js'
import { elementOf, packedSequences, Rules, rulesOf, Sequences } from './call-params.js'

/** `Params` of attend_keys.wgsl. */
export const AttendParams = { sequences: Sequences, rules: Rules } as const

/** What attention reads and writes, packed or paged: tensors as the shapes of `AttendInput` and `AttendOutput` say, and where they lie. */
export interface AttendCall {
  readonly q: BufferSlice
  readonly k: BufferSlice
  readonly v: BufferSlice
  readonly selected: BufferSlice
  readonly out: BufferSlice
  readonly lse: BufferSlice
  readonly numbers: BufferSlice
  readonly sequences: ParamValues<typeof Sequences>
  readonly rules: ParamValues<typeof Rules>
  readonly element: ElementType
}

const SHARED_PARTS = [
  { file: 'grid.wgsl', source: gridSource },
  { file: 'sequences.wgsl', source: sequencesSource },
  { file: 'attend_keys.wgsl', source: attendKeysSource },
]
const ATTEND_TILES: Kernel = {
  name: 'attend_tiles',
  parts: [
    ...SHARED_PARTS,
    { file: 'query_tiles.wgsl', source: queryTilesSource },
    { file: 'attend_tiles.wgsl', source: attendTilesSource },
  ],
}
const ATTEND_SELECTED: Kernel = {
  name: 'attend_selected',
  parts: [...SHARED_PARTS, { file: 'attend_selected.wgsl', source: attendSelectedSource }],
}

/** Rows of a workgroup of attend_tiles.wgsl: queries times the heads of a KV head. */
const TILE_ROWS = 64
/** Teams of a workgroup of attend_selected.wgsl, and the most heads of one. */
const TEAMS = 2
const MOST_TEAM_HEADS = 4
/** Queries a sequence from which on tiles are worth it. */
const LEAST_TILE_QUERIES = 8

/** Attention over forced and selected blocks of a packed batch (spec 5). */
export function attend(host: AttentionHost, { q, k, v, selected, layout, spec }: AttendInput): AttendOutput {
  const { memory, numbers } = host
  const out = memory.make([layout.queryTokens, spec.heads, spec.headDim], spec.dtype)
  const lse = memory.make([layout.queryTokens, spec.heads], 'f32')
  queueAttend(host, spec, {
    q: memory.slice(q),
    k: memory.slice(k),
    v: memory.slice(v),
    selected: memory.slice(selected),
    out: memory.slice(out),
    lse: memory.slice(lse),
    numbers: numbers.ofLayout(layout),
    sequences: packedSequences(layout),
    rules: rulesOf(spec),
    element: elementOf(spec),
  })
  return { out, lse }
}

/** Queues attention, packed or paged; all of out and lse is written (spec 5). */
export function queueAttend(host: AttentionHost, spec: AttentionSpec, call: AttendCall): void {
  const { device } = host
  const { queryTokens, count } = call.sequences
  if (queryTokens < count * LEAST_TILE_QUERIES) {
    queueAttendFew(host, spec, call)
    return
  }
  const launch = (kernel: Kernel, workgroups: number, constants: Readonly<Record<string, number>>) =>
    device.launch({
      kernel,
      element: call.element,
      constants: { HEAD_DIM: spec.headDim, ...constants },
      bindings: [read(call.numbers), read(call.q), read(call.k), read(call.v), read(call.selected), write(call.out), write(call.lse)],
      params: packParams(AttendParams, { sequences: call.sequences, rules: call.rules }),
      grid: gridOf(workgroups),
    })
  const group = spec.heads / spec.kvHeads
  const tiles = Math.floor(queryTokens / Math.floor(TILE_ROWS / group)) + count + 1
  launch(ATTEND_TILES, tiles * spec.kvHeads, { GROUP: group })
  if (call.rules.topK === 0) return
  const heads = group === 3 ? MOST_TEAM_HEADS : Math.min(group, MOST_TEAM_HEADS)
  const teams = queryTokens * spec.kvHeads * Math.ceil(group / heads)
  launch(ATTEND_SELECTED, Math.ceil(teams / TEAMS), { GROUP: group, HEADS: heads, BLOCK_SIZE: spec.blockSize })
}
