import type { AttentionOracle } from '../attention-oracle.js'
import type { AttentionProblem } from '../attention-problem.js'
import { usedRows } from '../padded-rows.js'
import type { Probe } from '../probe.js'
import { relativeCheck } from '../relative-error.js'
import type { TensorCheck } from '../tensor-check.js'
import { tolerancesFor } from '../tolerances.js'

/** Block representatives (spec 3); rows of the tensor that hold no block are 0. */
export async function checkPool(probe: Probe, problem: AttentionProblem, oracle: AttentionOracle): Promise<TensorCheck[]> {
  const { spec, layout } = problem
  const { reps } = await probe.call(() => ({ reps: probe.backend.attention.poolBlocks(problem) }))
  const r = spec.representatives
  const rows = { groups: spec.kvHeads, rows: oracle.inputs.layout.totalBlocks * r, capacity: layout.blocks * r, width: spec.headDim }
  const { used, checks } = usedRows('reps', reps, rows, 0)
  return [relativeCheck('reps', used, await oracle.reps(), tolerancesFor(spec.dtype).relative), ...checks]
}
