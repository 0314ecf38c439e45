import type { AttentionSpec, SelectInput, Tensor } from '@phsa/core'
import bestBlocksSource from '../../kernels/best_blocks.wgsl?raw'
import chooseBlocksSource from '../../kernels/choose_blocks.wgsl?raw'
import gridSource from '../../kernels/grid.wgsl?raw'
import logSumsSource from '../../kernels/log_sums.wgsl?raw'
import productTileSource from '../../kernels/product_tile.wgsl?raw'
import queryTilesSource from '../../kernels/query_tiles.wgsl?raw'
import scoreBlocksSource from '../../kernels/score_blocks.wgsl?raw'
import scoreBlocksFewSource from '../../kernels/score_blocks_few.wgsl?raw'
import scoreOperandsSource from '../../kernels/score_operands.wgsl?raw'
import selectionScoresSource from '../../kernels/selection_scores.wgsl?raw'
import sequencesSource from '../../kernels/sequences.wgsl?raw'
import sumHeadsSource from '../../kernels/sum_heads.wgsl?raw'
import { read, write } from '../device/bindings.js'
import type { GpuDevice } from '../device/gpu-device.js'
import { gridOf } from '../device/grid.js'
import type { BufferSlice } from '../device/kernel-launch.js'
import { type ParamValues, packParams } from '../device/param-layout.js'
import type { ElementType, Kernel } from '../device/shader-part.js'
import type { AttentionHost } from './attention-host.js'
import { elementOf, packedSequences, Rules, rulesOf, Sequences } from './call-params.js'
import { mostRanked } from './most-ranked.js'
import { productStages, TILE } from './product-tile.js'

/** `Params` of selection_scores.wgsl. */
export const SelectionScoresParams = {
  sequences: Sequences,
  rules: Rules,
  firstItem: 'u32',
  items: 'u32',
  capacity: 'u32',
  tileQueries: 'u32',
} as const

/** The most rows and the columns of a workgroup of score_blocks_few.wgsl. */
const FEW_ROWS = 16
const FEW_COLUMNS = 16
/** Threads of a workgroup of choose_blocks.wgsl, for many queries and for few. */
const CHOICE_THREADS = 64
const FEW_CHOICE_THREADS = 256
/** Scores in memory at once, a share of what a kernel may see of a buffer; more queries are worked in parts. */
const SCORE_SHARE = 1 / 8
const [LEAST_SCORE_BYTES, MOST_SCORE_BYTES] = [2 ** 26, 2 ** 28]
/** Workgroups of a launch in y. */
const MOST_ITEMS = 2 ** 15
/** Elements that a workgroup of sum_heads.wgsl writes. */
const SUMMED = 512
const FLOAT_BYTES = Float32Array.BYTES_PER_ELEMENT

const SHARED_PARTS = [
  { file: 'grid.wgsl', source: gridSource },
  { file: 'sequences.wgsl', source: sequencesSource },
  { file: 'query_tiles.wgsl', source: queryTilesSource },
  { file: 'selection_scores.wgsl', source: selectionScoresSource },
]
const OPERANDS = { file: 'score_operands.wgsl', source: scoreOperandsSource }
const SCORE: Kernel = {
  name: 'score_blocks',
  parts: [
    ...SHARED_PARTS,
    OPERANDS,
    { file: 'product_tile.wgsl', source: productTileSource },
    { file: 'score_blocks.wgsl', source: scoreBlocksSource },
  ],
}
const SCORE_FEW: Kernel = {
  name: 'score_blocks_few',
  parts: [...SHARED_PARTS, OPERANDS, { file: 'score_blocks_few.wgsl', source: scoreBlocksFewSource }],
}
const SUM_HEADS: Kernel = { name: 'sum_heads', parts: [...SHARED_PARTS, { file: 'sum_heads.wgsl', source: sumHeadsSource }] }
const CHOOSE: Kernel = {
  name: 'choose_blocks',
  parts: [
    ...SHARED_PARTS,
    { file: 'log_sums.wgsl', source: logSumsSource },
    { file: 'best_blocks.wgsl', source: bestBlocksSource },
    { file: 'choose_blocks.wgsl', source: chooseBlocksSource },
  ],
}

/** What `queueSelect` reads and writes, packed or paged. */
export interface SelectCall {
  /** [Tq, Hq, D] */
  readonly q: BufferSlice
  /** f32, see representativeRow of sequences.wgsl. */
  readonly reps: BufferSlice
  /** i32 [Hkv, Tq, rules.topK], all of it written. */
  readonly selected: BufferSlice
  /** Of `SequenceNumbers`. */
  readonly numbers: BufferSlice
  readonly sequences: ParamValues<typeof Sequences>
  readonly rules: ParamValues<typeof Rules>
  readonly element: ElementType
  /** At least the most blocks of a sequence. */
  readonly maxBlocks: number
  /** At least the most queries that one sequence brings. */
  readonly maxQueries: number
}

/** The topK blocks of each query and KV head, i32 [Hkv, Tq, topK] (spec 4). */
export function selectBlocks(host: AttentionHost, { q, reps, layout, spec }: SelectInput): Tensor {
  const { memory, numbers } = host
  const selected = memory.make([spec.kvHeads, layout.queryTokens, spec.topK], 'i32')
  queueSelect(host, spec, {
    q: memory.slice(q),
    reps: memory.slice(reps),
    selected: memory.slice(selected),
    numbers: numbers.ofLayout(layout),
    sequences: packedSequences(layout),
    rules: rulesOf(spec),
    element: elementOf(spec),
    maxBlocks: layout.maxBlocks,
    maxQueries: layout.maxQueries,
  })
  return selected
}

/** How the work of a choice is cut. */
interface SelectPlan {
  /** Rows of scores of a query. */
  readonly queryRows: number
  readonly isFew: boolean
  readonly tileQueries: number
  readonly columnTiles: number
  /** Tiles of queries of one KV head, and how many of them are worked on at once. */
  readonly items: number
  readonly atOnce: number
}

/** Queues the choice of blocks (spec 4): scores of some queries at a time, then the best of each. */
export function queueSelect({ device, memory }: AttentionHost, spec: AttentionSpec, call: SelectCall): void {
  const { sequences, rules } = call
  if (rules.topK === 0 || sequences.queryTokens === 0) return
  const plan = planOf(device, spec, call)
  const { queryRows, isFew, tileQueries, columnTiles, items, atOnce } = plan
  const isSummed = spec.score === 'logit'
  const constants = { HEAD_DIM: spec.headDim, SCORE: rules.score, QUERY_ROWS: queryRows }
  const [numbers, selected] = [read(call.numbers), write(call.selected)]
  const summedBytes = isSummed ? atOnce * tileQueries * spec.headDim * FLOAT_BYTES : 0
  memory.scratch(summedBytes, (summed) =>
    memory.scratch(atOnce * itemBytes(plan), (scores) => {
      for (let firstItem = 0; firstItem < items; firstItem += atOnce) {
        const count = Math.min(atOnce, items - firstItem)
        const params = packParams(SelectionScoresParams, {
          sequences,
          rules,
          firstItem,
          items: count,
          capacity: columnTiles * TILE,
          tileQueries,
        })
        const { element } = call
        if (isSummed) {
          const grid = gridOf(Math.ceil((count * tileQueries * spec.headDim) / SUMMED))
          device.launch({ kernel: SUM_HEADS, element, constants, bindings: [numbers, read(call.q), write(summed)], params, grid })
        }
        device.launch({
          kernel: isFew ? SCORE_FEW : SCORE,
          element: isSummed ? 'f32' : element,
          constants: isFew ? constants : { ...constants, STAGES: productStages(device) },
          bindings: [numbers, read(isSummed ? summed : call.q), read(call.reps), write(scores)],
          params,
          grid: [isFew ? (columnTiles * TILE) / FEW_COLUMNS : columnTiles, count, 1],
        })
        device.launch({
          kernel: CHOOSE,
          element,
          constants: { ...constants, THREADS: isFew ? FEW_CHOICE_THREADS : CHOICE_THREADS, MOST_RANKED: mostRanked(rules.topK) },
          bindings: [numbers, write(scores), selected],
          params,
          grid: [tileQueries, count, 1],
        })
      }
    }),
  )
}

function planOf(
  { gpu }: Pick<GpuDevice, 'gpu'>,
  { heads, kvHeads, representatives, score }: AttentionSpec,
  { sequences, maxBlocks, maxQueries }: SelectCall,
): SelectPlan {
  // Logit scores add up: one row for all heads.
  const queryRows = score === 'logit' ? 1 : heads / kvHeads
  const isFew = maxQueries * queryRows <= FEW_ROWS
  const tileQueries = isFew ? Math.max(1, maxQueries) : Math.floor(TILE / queryRows)
  const columnTiles = Math.max(1, Math.ceil((maxBlocks * representatives) / TILE))
  const items = kvHeads * (Math.floor(sequences.queryTokens / tileQueries) + sequences.count + 1)
  const plan = { queryRows, isFew, tileQueries, columnTiles, items }
  const bytes = Math.min(MOST_SCORE_BYTES, Math.max(LEAST_SCORE_BYTES, gpu.limits.maxStorageBufferBindingSize * SCORE_SHARE))
  return { ...plan, atOnce: Math.min(items, Math.max(1, Math.floor(bytes / itemBytes(plan))), MOST_ITEMS) }
}

/** Scores of an item. */
function itemBytes({ tileQueries, queryRows, columnTiles }: Pick<SelectPlan, 'tileQueries' | 'queryRows' | 'columnTiles'>): number {
  return tileQueries * queryRows * columnTiles * TILE * FLOAT_BYTES
}
