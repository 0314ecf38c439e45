import { cancellingCheck } from '../attention-errors.js'
import type { AttentionOracle } from '../attention-oracle.js'
import type { AttentionProblem } from '../attention-problem.js'
import { padRows, usedRows } from '../padded-rows.js'
import type { Probe } from '../probe.js'
import { relativeCheck, rowwiseCheck } from '../relative-error.js'
import { rounded } from '../rounded.js'
import { selectedInput } from '../selected-input.js'
import type { TensorCheck } from '../tensor-check.js'
import { tolerancesFor } from '../tolerances.js'

/** Gradients of q, k and v over the reference's choice; out and lse are the reference's, rounded as a backend holds them (spec 5). */
export async function checkAttendBackward(probe: Probe, problem: AttentionProblem, oracle: AttentionOracle): Promise<TensorCheck[]> {
  const { spec, layout } = problem
  const { heads, kvHeads, headDim, dtype } = spec
  const packed = oracle.inputs.layout
  const tolerance = tolerancesFor(dtype)
  const selected = await selectedInput(probe, problem, oracle)
  const forward = await oracle.attended()
  const queries = { groups: 1, rows: packed.totalQueries, capacity: layout.queryTokens }
  const keys = { groups: 1, rows: packed.totalTokens, capacity: layout.keyTokens, width: kvHeads * headDim }
  const paddedOut = padRows(rounded(forward.out, dtype), { ...queries, width: heads * headDim }, Number.NaN)
  const paddedLse = padRows(rounded(forward.lse, 'f32'), { ...queries, width: heads }, Number.NaN)
  const out = probe.input('out', paddedOut, [layout.queryTokens, heads, headDim], dtype)
  const lse = probe.input('lse', paddedLse, [layout.queryTokens, heads], 'f32')
  const downloads = await probe.call(() => {
    const { dq, dk, dv } = probe.backend.attention.attendBackward({ ...problem, selected, out, lse })
    return { dq, dk, dv }
  })
  const dq = usedRows('dq', downloads.dq, { ...queries, width: heads * headDim }, 0)
  const dk = usedRows('dk', downloads.dk, keys, 0)
  const dv = usedRows('dv', downloads.dv, keys, 0)
  const expected = await oracle.gradients()
  const magnitude = await oracle.magnitude()
  return [
    cancellingCheck('dq', dq.used, expected.dq, magnitude.dq, tolerance),
    cancellingCheck('dk', dk.used, expected.dk, magnitude.dk, tolerance),
    relativeCheck('dv', dv.used, expected.dv, tolerance.relative),
    rowwiseCheck('dv', dv.used, expected.dv, headDim, tolerance.row),
    ...dq.checks,
    ...dk.checks,
    ...dv.checks,
  ]
}
