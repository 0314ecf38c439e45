import { RandomStream } from '../../random-stream.js'
import type { AttentionOracle } from '../attention-oracle.js'
import type { AttentionProblem } from '../attention-problem.js'
import { measuredRows } from '../measured-rows.js'
import { queryRows } from '../packed-rows.js'
import type { Probe } from '../probe.js'
import { bestBlocks } from '../selection-check.js'
import { identityCheck, type TensorCheck } from '../tensor-check.js'

/** What rows hold that the call does not name: it must stay. */
const UNTOUCHED = -7

/** The choice from scores that are given, exactly; many of them are equal, so that ties decide (spec 4). */
export async function checkSelectTop(probe: Probe, problem: AttentionProblem, oracle: AttentionOracle): Promise<TensorCheck[]> {
  const { kvHeads, topK } = problem.spec
  const { queryTokens, maxBlocks } = problem.layout
  const packed = oracle.inputs.layout
  const rows = measuredRows(packed, 81)
  const random = new RandomStream(82)
  const scores = Float32Array.from({ length: kvHeads * rows.length * maxBlocks }, () => (random.below(9) - 4) / 4)
  const before = new Int32Array(kvHeads * queryTokens * topK).fill(UNTOUCHED)
  const selected = probe.changing(before, [kvHeads, queryTokens, topK], 'i32')
  const input = {
    ...problem,
    selected,
    scores: probe.input('scores', scores, [kvHeads, rows.length, maxBlocks], 'f32'),
    rows: probe.input('rows', rows, [rows.length], 'i32'),
  }
  await probe.call(() => {
    probe.backend.attention.selectTop(input)
    return {}
  })
  const expected = before.slice()
  for (const { row, position } of queryRows(packed)) {
    const index = rows.indexOf(row)
    if (index < 0) continue
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      const first = (kvHead * rows.length + index) * maxBlocks
      expected.set(bestBlocks(scores.subarray(first, first + maxBlocks), position, problem.spec), (kvHead * queryTokens + row) * topK)
    }
  }
  return [identityCheck('selected', await probe.backend.memory.download(selected), expected)]
}
