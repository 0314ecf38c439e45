import { attentionMassRecall, type MassRecall } from './attention-mass-recall.js'
import type { AttentionBackend } from './contract/attention-backend.js'
import { type AttentionSpec, isDense } from './contract/attention-spec.js'
import type { Layout } from './contract/layout.js'
import type { Tensor } from './contract/tensor.js'
import { ShapeError } from './errors/shape-error.js'
import type { PackedLayout } from './packed-layout.js'
import { selectionRecall } from './selection-recall.js'
import { activatedTokens } from './sparsity-accounting.js'
import { type BlockScores, topBlocks } from './top-blocks.js'

/** One attention of packed sequences, and the queries that selections are measured on (spec 9). */
export interface RecallInput {
  /** `[Tq, Hq, D]` */
  readonly q: Tensor
  /** `[Tk, Hkv, D]` */
  readonly k: Tensor
  /** The layout on the host, and the same one on the device. */
  readonly packed: PackedLayout
  readonly layout: Layout
  /** Query rows to measure, `[n]`; see `sampleDistillationRows`. */
  readonly rows: Int32Array
  /** First position that counts; default the largest A of the specs that are not dense. */
  readonly past?: number
}

/** A selection of blocks and the spec that it was made with. */
export interface MeasuredSelection {
  /** i32 `[Hkv, Tq, topK]`; without it the oracle's choice, which is read off the masses. */
  readonly selected?: Tensor
  readonly spec: AttentionSpec
}

/** Both recalls of one selection, 0 to 1 (spec 9). */
export interface RecallMeasurement extends MassRecall {
  /** Share of the oracle's blocks that were chosen; absent where the oracle has none to choose: topK 0, or dense. */
  readonly selectionRecall?: number
}

/**
 * Measures selections against the dense attention of the same q and k on the sampled rows (spec 9): masses come from the backend,
 * once for all selections, the averages from the host. Costs n x L scores and a download of `[Hkv, n, maxBlocks]` masses and of each selection.
 * @param selections at least one; their specs agree in heads, head dimension and block size
 * @returns a measurement of each selection
 * @throws ShapeError for rows outside the layout; InvalidConfigError where none of them lies past A
 */
export async function measureRecall(
  backend: AttentionBackend,
  input: RecallInput,
  selections: readonly MeasuredSelection[],
): Promise<RecallMeasurement[]> {
  const { q, k, layout, rows, past = largestBudget(selections) } = input
  const { memory, attention } = backend
  // Rows that do not count become "none" (-1), which costs the backend nothing and keeps them out of both measures.
  const positions = queryPositions(input.packed, rows).map((position) => (position >= past ? position : -1))
  const counted = rows.map((row, index) => (positions[index] < 0 ? -1 : row))
  const [{ spec }] = selections
  const mass = memory.scope(() => attention.blockMass({ q, k, rows: memory.upload(counted, [rows.length]), layout, spec }))
  try {
    // All are asked for before any is awaited: the caller may reuse its selections meanwhile.
    const [values, ...chosen] = await Promise.all([
      memory.download(mass),
      ...selections.map(({ selected }) => selected && memory.download(selected)),
    ])
    const scores: BlockScores = { values, maxBlocks: layout.maxBlocks, positions }
    return selections.map(({ spec }, index) => {
      const whole = chosen[index]
      const oracle = topBlocks(scores, spec)
      const selected = whole ? rowsOf(whole, rows, layout.queryTokens, spec) : oracle
      const measured = attentionMassRecall(scores, selected, spec, past)
      if (!oracle.some((block) => block >= 0)) return measured
      return { ...measured, selectionRecall: selectionRecall(selected, oracle, spec.topK) }
    })
  } finally {
    mass.dispose()
  }
}

function largestBudget(selections: readonly MeasuredSelection[]): number {
  return Math.max(0, ...selections.map(({ spec }) => (isDense(spec) ? 0 : activatedTokens(spec))))
}

/** Position in its sequence of each query row. */
function queryPositions(packed: PackedLayout, rows: Int32Array): Int32Array {
  return rows.map((row) => {
    const sequence = packed.queryStarts.findIndex((start, index) => start <= row && row < packed.queryStarts[index + 1])
    if (sequence < 0) throw new ShapeError(`query row ${row} is outside the layout, which has rows 0 to ${packed.totalQueries - 1}.`)
    return packed.firstQueryPosition(sequence) + row - packed.queryStarts[sequence]
  })
}

/** [Hkv, Tq, topK] -> [Hkv, n, topK] */
function rowsOf(selected: ArrayLike<number>, rows: Int32Array, queryTokens: number, { kvHeads, topK }: AttentionSpec): Int32Array {
  const kept = new Int32Array(kvHeads * rows.length * topK)
  for (let flat = 0; flat < kvHeads * rows.length; flat++) {
    const source = Math.floor(flat / rows.length) * queryTokens + rows[flat % rows.length]
    for (let rank = 0; rank < topK; rank++) kept[flat * topK + rank] = selected[source * topK + rank]
  }
  return kept
}
