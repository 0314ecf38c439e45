import tilesSource from '../../kernels/attend_query_gradient.wgsl?raw'
import selectedSource from '../../kernels/attend_query_gradient_selected.wgsl?raw'
import { read, write } from '../device/bindings.js'
import { gridOf } from '../device/grid.js'
import { packParams } from '../device/param-layout.js'
import type { AttentionHost } from './attention-host.js'
import { elementOf, packedSequences, Rules, rulesOf, Sequences } from './call-params.js'
import { type GradientCall, gradientInputs, SEQUENCE_PARTS, TILE_PARTS } from './gradient-call.js'
import { gradientTile } from './gradient-tile.js'

/** `Params` of attend_query_gradient.wgsl. */
export const QueryGradientParams = { sequences: Sequences, rules: Rules, tiles: 'u32' } as const
/** `Params` of attend_query_gradient_selected.wgsl. */
export const QueryGradientSelectedParams = { sequences: Sequences, rules: Rules } as const

const FORCED = { name: 'attend_query_gradient', parts: [...TILE_PARTS, { file: 'attend_query_gradient.wgsl', source: tilesSource }] }
const SELECTED = {
  name: 'attend_query_gradient_selected',
  parts: [...SEQUENCE_PARTS, { file: 'attend_query_gradient_selected.wgsl', source: selectedSource }],
}
/** Heads of a workgroup of attend_query_gradient_selected.wgsl: 1, 2 or these. */
const MOST_HEADS = 4

/** Queues dq: what forced keys give, then, added to it, what the selected ones do. */
export function queryGradient(host: AttentionHost, call: GradientCall): void {
  const { device, memory } = host
  const { selected, layout, spec } = call.input
  const common = { sequences: packedSequences(layout), rules: rulesOf(spec) }
  const inputs = gradientInputs(host, call)
  const dq = write(memory.slice(call.gradients.dq))
  const group = spec.heads / spec.kvHeads
  const tile = gradientTile(spec, device)
  const tiles = Math.floor(layout.queryTokens / Math.floor(tile.OWNED / group)) + layout.sequences
  device.launch({
    kernel: FORCED,
    element: elementOf(spec),
    constants: { ...tile, GROUP: group },
    bindings: [...inputs, dq],
    params: packParams(QueryGradientParams, { ...common, tiles }),
    grid: gridOf(tiles * spec.kvHeads),
  })
  if (!call.lists) return
  const heads = group < 3 ? group : MOST_HEADS
  device.launch({
    kernel: SELECTED,
    element: elementOf(spec),
    constants: { HEAD_DIM: spec.headDim, GROUP: group, HEADS: heads },
    bindings: [...inputs, read(memory.slice(selected)), dq],
    params: packParams(QueryGradientSelectedParams, common),
    grid: gridOf(layout.queryTokens * spec.kvHeads * Math.ceil(group / heads)),
  })
}
