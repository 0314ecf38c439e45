import type { AttentionOracle } from '../attention-oracle.js'
import type { AttentionProblem } from '../attention-problem.js'
import { measuredRows } from '../measured-rows.js'
import { usedRows } from '../padded-rows.js'
import type { Probe } from '../probe.js'
import { relativeCheck } from '../relative-error.js'
import type { TensorCheck } from '../tensor-check.js'
import { tolerancesFor } from '../tolerances.js'

/** Dense attention probability on each block (spec 9, 10); 0 for row -1 and for blocks that a sequence does not have. */
export async function checkBlockMass(probe: Probe, problem: AttentionProblem, oracle: AttentionOracle): Promise<TensorCheck[]> {
  const { spec, layout } = problem
  const packed = oracle.inputs.layout
  const hostRows = measuredRows(packed, 91)
  const expected = await oracle.mass(hostRows)
  const rows = probe.input('rows', hostRows, [hostRows.length], 'i32')
  probe.expectOutput([spec.kvHeads, hostRows.length, layout.maxBlocks], 'f32')
  const { mass } = await probe.call(() => ({ mass: probe.backend.attention.blockMass({ ...problem, rows }) }))
  const shape = { groups: spec.kvHeads * hostRows.length, rows: packed.maxBlocks, capacity: layout.maxBlocks, width: 1 }
  const { used, checks } = usedRows('mass', mass, shape, 0)
  // Padding is checked a row of blocks at a time; one line is enough where all is well.
  return [relativeCheck('mass', used, expected, tolerancesFor(spec.dtype).relative), ...checks]
}
