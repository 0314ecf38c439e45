import { lseCheck } from '../attention-errors.js'
import type { AttentionOracle } from '../attention-oracle.js'
import type { AttentionProblem } from '../attention-problem.js'
import { usedRows } from '../padded-rows.js'
import type { Probe } from '../probe.js'
import { relativeCheck, rowwiseCheck } from '../relative-error.js'
import { selectedInput } from '../selected-input.js'
import type { TensorCheck } from '../tensor-check.js'
import { tolerancesFor } from '../tolerances.js'

/** Attention over the reference's choice of blocks (spec 5). */
export async function checkAttend(probe: Probe, problem: AttentionProblem, oracle: AttentionOracle): Promise<TensorCheck[]> {
  const { spec, layout } = problem
  const { heads, headDim, dtype } = spec
  const tolerance = tolerancesFor(dtype)
  const selected = await selectedInput(probe, problem, oracle)
  const downloads = await probe.call(() => {
    const { out, lse } = probe.backend.attention.attend({ ...problem, selected })
    return { out, lse }
  })
  const rows = { groups: 1, rows: oracle.inputs.layout.totalQueries, capacity: layout.queryTokens }
  const out = usedRows('out', downloads.out, { ...rows, width: heads * headDim }, 0)
  const lse = usedRows('lse', downloads.lse, { ...rows, width: heads }, Number.NEGATIVE_INFINITY)
  const expected = await oracle.attended()
  const { largestScore } = await oracle.magnitude()
  return [
    relativeCheck('out', out.used, expected.out, tolerance.relative),
    rowwiseCheck('out', out.used, expected.out, headDim, tolerance.row),
    lseCheck('lse', lse.used, expected.lse, largestScore, tolerance.lse),
    ...out.checks,
    ...lse.checks,
  ]
}
