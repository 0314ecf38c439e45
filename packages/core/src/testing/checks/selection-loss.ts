import { accumulator } from '../accumulator.js'
import type { AttentionOracle } from '../attention-oracle.js'
import type { AttentionProblem } from '../attention-problem.js'
import { measuredRows } from '../measured-rows.js'
import { padRows, usedRows } from '../padded-rows.js'
import type { Probe } from '../probe.js'
import { relativeCheck } from '../relative-error.js'
import { rounded } from '../rounded.js'
import type { TensorCheck } from '../tensor-check.js'
import { tolerancesFor } from '../tolerances.js'

/** An odd coefficient, so that leaving it out is seen. */
const COEFFICIENT = 0.7

/** Block distillation: the loss, dReps with the coefficient, and dq added to what is there (spec 10). Masses and representatives are given. */
export async function checkSelectionLoss(probe: Probe, problem: AttentionProblem, oracle: AttentionOracle): Promise<TensorCheck[]> {
  const { spec, layout } = problem
  const { heads, kvHeads, headDim, representatives: r, dtype } = spec
  const packed = oracle.inputs.layout
  const bound = tolerancesFor(dtype).relative
  const hostRows = measuredRows(packed, 95)
  const hostReps = rounded(await oracle.reps(), 'f32')
  const hostMass = rounded(await oracle.mass(hostRows), 'f32')
  const expected = await oracle.distillation(hostRows, hostReps, hostMass, COEFFICIENT)
  const blocks = { groups: kvHeads, rows: packed.totalBlocks * r, capacity: layout.blocks * r, width: headDim }
  const masses = { groups: kvHeads * hostRows.length, rows: packed.maxBlocks, capacity: layout.maxBlocks, width: 1 }
  const queries = { groups: 1, rows: packed.totalQueries, capacity: layout.queryTokens, width: heads * headDim }
  const before = accumulator(expected.dq, dtype, 96)
  const input = {
    ...problem,
    reps: probe.input('reps', padRows(hostReps, blocks, Number.NaN), [kvHeads, layout.blocks * r, headDim], 'f32'),
    mass: probe.input('mass', padRows(hostMass, masses, 0), [kvHeads, hostRows.length, layout.maxBlocks], 'f32'),
    rows: probe.input('rows', hostRows, [hostRows.length], 'i32'),
  }
  const dq = probe.changing(padRows(before.before, queries, 0), [layout.queryTokens, heads, headDim], dtype)
  const { attention, memory } = probe.backend
  const { loss } = await probe.call(() => ({ loss: attention.selectionLoss(input) }))
  const backward = await probe.call(() => {
    const gradients = attention.selectionLossBackward({ ...input, coefficient: COEFFICIENT, dq })
    return { loss: gradients.loss, dReps: gradients.dReps }
  })
  const dReps = usedRows('dReps', backward.dReps, blocks, 0)
  const dqAfter = usedRows('dq', await memory.download(dq), queries, 0)
  return [
    relativeCheck('loss', loss, expected.loss, bound),
    relativeCheck('backward loss', backward.loss, expected.loss, bound),
    relativeCheck('dReps', dReps.used, expected.dReps, bound),
    relativeCheck('dq', dqAfter.used, before.expected, bound),
    ...dReps.checks,
    ...dqAfter.checks,
  ]
}
