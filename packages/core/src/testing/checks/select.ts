import type { AttentionOracle } from '../attention-oracle.js'
import type { AttentionProblem } from '../attention-problem.js'
import { queryRows } from '../packed-rows.js'
import { usedRows } from '../padded-rows.js'
import type { Probe } from '../probe.js'
import { bestBlocks, selectionChecks } from '../selection-check.js'
import { identityCheck, type TensorCheck } from '../tensor-check.js'
import { tolerancesFor } from '../tolerances.js'

/**
 * Pooling and selection together, judged by reference scores (spec 4, 11).
 * @param exactTies all blocks score the same to the last bit, so that the choice itself is known: the lowest candidates
 */
export async function checkSelect(
  probe: Probe,
  problem: AttentionProblem,
  oracle: AttentionOracle,
  exactTies: boolean,
): Promise<TensorCheck[]> {
  const { spec, layout } = problem
  const packed = oracle.inputs.layout
  const { attention } = probe.backend
  const downloads = await probe.call(() => ({ selected: attention.selectBlocks({ ...problem, reps: attention.poolBlocks(problem) }) }))
  const rows = { groups: spec.kvHeads, rows: packed.totalQueries, capacity: layout.queryTokens, width: spec.topK }
  const { used, checks } = usedRows('selected', downloads.selected, rows, -1)
  const judged = selectionChecks('selected', used, await oracle.scores(), packed, spec, tolerancesFor(spec.dtype).selection)
  if (exactTies) {
    const expected = Array.from({ length: spec.kvHeads }, () =>
      [...queryRows(packed)].flatMap(({ position }) => bestBlocks(new Float64Array(packed.maxBlocks), position, spec)),
    )
    judged.push(identityCheck('selected ties', used, Int32Array.from(expected.flat())))
  }
  return [...judged, ...checks]
}
