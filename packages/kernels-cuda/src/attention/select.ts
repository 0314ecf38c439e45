import type { AttentionSpec, SelectTopInput } from '@phsa/core'
import { kernelName, packedSequences, rulesOf } from './call-params.js'
import { blocksOfWarps, rowTiles, THREADS, WARPS } from './kernel-grid.js'
import type { KernelDevice, KernelMemory } from './kernel-host.js'
import { type Rules, SelectParams, SelectTopParams, type Sequences } from './kernel-params.js'
import { type ParamValues, packParams } from './param-layout.js'
import { hasSelectTiles, selectTiles } from './select-tiles.js'

/** Query heads whose scores a lane keeps at once, representatives of a tile, and floats of padding: kRows, kTile and kPad of select_blocks.cu. */
const ROWS = 8
const TILE = 32
const PAD = 4

/** What `selectBlocks` reads and writes, packed or paged, by address. */
export interface SelectCall {
  readonly q: bigint
  readonly reps: bigint
  /** i32 [Hkv, Tq, rules.topK], all of it written. */
  readonly selected: bigint
  readonly sequences: ParamValues<typeof Sequences>
  readonly rules: ParamValues<typeof Rules>
}

/** Queues the choice of blocks (spec 4). */
export function selectBlocks(device: KernelDevice, memory: KernelMemory, spec: AttentionSpec, call: SelectCall): void {
  const { sequences, rules } = call
  if (rules.topK === 0 || sequences.queryTokens === 0) return
  if (sequences.keyStarts !== 0n && hasSelectTiles(device, spec, call, sequences.blocks)) {
    selectTiles(device, memory, spec, call)
    return
  }
  const group = spec.heads / spec.kvHeads
  const queriesPerWarp = Math.max(1, Math.floor(ROWS / group))
  const rowsPerWarp = Math.ceil((queriesPerWarp * group) / ROWS) * ROWS
  const [queries, rows] = [WARPS * queriesPerWarp, WARPS * rowsPerWarp]
  const words = rows * (spec.headDim + 1) + TILE * (spec.headDim + PAD) + queries * (TILE + 1) + 2 * queries * rules.topK
  device.launch({
    kernel: kernelName('select_blocks', spec),
    grid: [rowTiles(sequences.queryTokens, sequences.sequences, queries), spec.kvHeads, 1],
    block: THREADS,
    sharedBytes: words * 4,
    params: packParams(SelectParams, { ...call, queriesPerWarp, rowsPerWarp }),
  })
}

/** Queues the choice from given scores (spec 8). */
export function selectTop(device: KernelDevice, memory: KernelMemory, { scores, rows, selected, layout, spec }: SelectTopInput): void {
  const [count] = rows.shape
  if (spec.topK === 0) return
  device.launch({
    kernel: 'select_top',
    grid: [blocksOfWarps(count), spec.kvHeads, 1],
    block: THREADS,
    params: packParams(SelectTopParams, {
      scores: memory.address(scores),
      rows: memory.address(rows),
      selected: memory.address(selected),
      sequences: packedSequences(memory, layout),
      rules: rulesOf(spec),
      count,
      maxBlocks: layout.maxBlocks,
    }),
  })
}
