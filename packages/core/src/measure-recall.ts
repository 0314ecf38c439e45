import { attentionMassRecall, type MassRecall } from './attention-mass-recall.js'
import type { AttentionBackend } from './contract/attention-backend.js'
import type { AttentionSpec } from './contract/attention-spec.js'
import type { Layout } from './contract/layout.js'
import type { Tensor } from './contract/tensor.js'
import { ShapeError } from './errors/shape-error.js'
import type { PackedLayout } from './packed-layout.js'
import { selectionRecall } from './selection-recall.js'
import { activatedTokens } from './sparsity-accounting.js'
import { type BlockScores, topBlocks } from './top-blocks.js'

export interface RecallInput {
  /** [Tq, Hq, D] */
  readonly q: Tensor
  /** [Tk, Hkv, D] */
  readonly k: Tensor
  /** i32 [Hkv, Tq, topK] */
  readonly selected: Tensor
  /** The layout on the host, and the same one on the device. */
  readonly packed: PackedLayout
  readonly layout: Layout
  /** Query rows to measure, [n]; see `sampleDistillationRows`. */
  readonly rows: Int32Array
  readonly spec: AttentionSpec
  /** First position that counts; default A of the spec. */
  readonly past?: number
}

export interface RecallMeasurement extends MassRecall {
  /** Share of the oracle's blocks that were chosen; absent where topK is 0 (spec 9). */
  readonly selectionRecall?: number
}

/**
 * Measures a selection against the dense attention of the same q and k on the sampled rows (spec 9): masses come from the backend,
 * the averages from the host. Costs n x L scores and a download of [Hkv, n, maxBlocks] masses and of the whole selection.
 * @throws ShapeError for rows outside the layout; InvalidConfigError where none of them lies past A
 */
export async function measureRecall(backend: AttentionBackend, input: RecallInput): Promise<RecallMeasurement> {
  const { q, k, layout, rows, spec, past = activatedTokens(spec) } = input
  const { memory, attention } = backend
  // Rows that do not count become "none" (-1), which costs the backend nothing and keeps them out of both measures.
  const positions = queryPositions(input.packed, rows).map((position) => (position >= past ? position : -1))
  const counted = rows.map((row, index) => (positions[index] < 0 ? -1 : row))
  const mass = memory.scope(() => attention.blockMass({ q, k, rows: memory.upload(counted, [rows.length]), layout, spec }))
  try {
    // Both are asked for before either is awaited: the caller may reuse its selection meanwhile.
    const [values, whole] = await Promise.all([memory.download(mass), memory.download(input.selected)])
    const scores: BlockScores = { values, maxBlocks: layout.maxBlocks, positions }
    const selected = rowsOf(whole, rows, layout.queryTokens, spec)
    const measured = attentionMassRecall(scores, selected, spec, past)
    if (spec.topK === 0) return measured
    return { ...measured, selectionRecall: selectionRecall(selected, topBlocks(scores, spec), spec.topK) }
  } finally {
    mass.dispose()
  }
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
