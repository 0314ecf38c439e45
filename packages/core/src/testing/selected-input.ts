import type { Tensor } from '../contract/tensor.js'
import type { AttentionOracle } from './attention-oracle.js'
import type { AttentionProblem } from './attention-problem.js'
import { padRows } from './padded-rows.js'
import type { Probe } from './probe.js'

/** Far outside of every index: rows of no sequence may hold anything. */
const NONSENSE = 1_000_000

/** The reference's choice as an input of the tested backend. */
export async function selectedInput(probe: Probe, { spec, layout }: AttentionProblem, oracle: AttentionOracle): Promise<Tensor> {
  const { kvHeads, topK } = spec
  const rows = { groups: kvHeads, rows: oracle.inputs.layout.totalQueries, capacity: layout.queryTokens, width: topK }
  return probe.input('selected', padRows(await oracle.selected(), rows, NONSENSE), [kvHeads, layout.queryTokens, topK], 'i32')
}
