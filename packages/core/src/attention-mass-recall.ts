import { candidateBlocks } from './candidate-blocks.js'
import type { AttentionSpec } from './contract/attention-spec.js'
import { InvalidConfigError } from './errors/invalid-config-error.js'
import { ShapeError } from './errors/shape-error.js'
import { activatedTokens } from './sparsity-accounting.js'
import type { BlockScores } from './top-blocks.js'

/** Attention-mass recall of a selection, averaged over the measured queries (spec 9). */
export interface MassRecall {
  /** Share of the dense attention probability on visible keys, 0 to 1: mean over queries, KV heads and the heads of their groups. */
  readonly recall: number
  /** The same of each KV head alone, [Hkv]. */
  readonly byHead: readonly number[]
  /** 1 - recall. */
  readonly loss: number
  /** Queries that were averaged. */
  readonly queries: number
}

/**
 * Attention-mass recall of a selection (spec 9).
 * @param mass block masses [Hkv, n, maxBlocks], each a sum over the heads of the group, as `blockMass` gives them
 * @param selected [Hkv, n, topK], -1 padded
 * @param past first position that counts; default A of the spec. To compare a dense run, pass the A of the sparse ones
 * @throws ShapeError for lengths that do not fit; InvalidConfigError where no query stands at `past` or later
 */
export function attentionMassRecall(
  mass: BlockScores,
  selected: ArrayLike<number>,
  spec: AttentionSpec,
  past: number = activatedTokens(spec),
): MassRecall {
  const { values, maxBlocks, positions } = mass
  requireLength('masses', values, [spec.kvHeads, positions.length, maxBlocks])
  requireLength('selected', selected, [spec.kvHeads, positions.length, spec.topK])
  const measured = Array.from({ length: positions.length }, (_, row) => row).filter((row) => positions[row] >= past)
  if (measured.length === 0) {
    throw new InvalidConfigError(
      'positions',
      `no measured query stands at position ${past} or later, where recall is defined; measure a longer text.`,
    )
  }
  const group = spec.heads / spec.kvHeads
  const byHead = Array.from({ length: spec.kvHeads }, (_, head) => {
    let sum = 0
    for (const row of measured) {
      const flat = head * positions.length + row
      const chosen = Array.from({ length: spec.topK }, (_, rank) => selected[flat * spec.topK + rank])
      sum += visibleMass(values, flat * maxBlocks, maxBlocks, new Set(chosen), candidateBlocks(spec, positions[row]))
    }
    return sum / (group * measured.length)
  })
  const recall = byHead.reduce((sum, share) => sum + share, 0) / spec.kvHeads
  return { recall, byHead, loss: 1 - recall, queries: measured.length }
}

/** Blocks past the query hold no mass, so everything but the candidates left out is visible. */
function visibleMass(
  values: ArrayLike<number>,
  first: number,
  maxBlocks: number,
  chosen: ReadonlySet<number>,
  candidates: { start: number; end: number },
): number {
  let sum = 0
  for (let block = 0; block < maxBlocks; block++) {
    const skipped = block >= candidates.start && block < candidates.end && !chosen.has(block)
    if (!skipped) sum += values[first + block]
  }
  return sum
}

function requireLength(name: string, values: ArrayLike<number>, shape: readonly number[]): void {
  const expected = shape.reduce((product, extent) => product * extent, 1)
  if (values.length !== expected) throw new ShapeError(`${name} has ${values.length} entries; [${shape.join(', ')}] takes ${expected}.`)
}
