import type { AttentionInputs } from '../attention-inputs.js'
import type { AttentionOracle } from '../attention-oracle.js'
import type { AttentionProblem } from '../attention-problem.js'
import { queryRows, visibleKeys } from '../packed-rows.js'
import type { Probe } from '../probe.js'
import type { TensorCheck } from '../tensor-check.js'
import { checkAttend } from './attend.js'
import { checkAttendBackward } from './attend-backward.js'

/**
 * NaN in the keys and values of blocks that none of a KV head's queries sees changes nothing (spec 11).
 * @param upload makes the tensors of a problem from other inputs
 */
export async function checkNanPoison(
  probe: Probe,
  oracle: AttentionOracle,
  upload: (inputs: AttentionInputs) => Promise<AttentionProblem>,
): Promise<TensorCheck[]> {
  const { inputs, spec } = oracle
  const hidden = hiddenKeys(inputs, await oracle.selected(), oracle)
  const k = inputs.k.slice()
  const v = inputs.v.slice()
  for (const element of hidden) {
    const start = element * spec.headDim
    k.fill(Number.NaN, start, start + spec.headDim)
    v.fill(Number.NaN, start, start + spec.headDim)
  }
  const problem = await upload({ ...inputs, k, v })
  const count = { name: 'hidden keys', measured: hidden.length, bound: Number.POSITIVE_INFINITY, ok: hidden.length > 0 }
  return [count, ...(await checkAttend(probe, problem, oracle)), ...(await checkAttendBackward(probe, problem, oracle))]
}

/** Keys in blocks that no query of their KV head sees, as row * Hkv + head. */
function hiddenKeys({ layout }: AttentionInputs, selected: Int32Array, { spec }: AttentionOracle): number[] {
  const { kvHeads, topK, blockSize } = spec
  const hidden: number[] = []
  for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
    const seen = new Set<number>()
    for (const row of queryRows(layout)) {
      const first = (kvHead * layout.totalQueries + row.row) * topK
      for (const key of visibleKeys(row, selected.subarray(first, first + topK), spec)) seen.add(key)
    }
    for (const { start, end } of layout.blocks()) {
      const keys = Array.from({ length: Math.min(blockSize, end - start) }, (_, index) => start + index)
      if (!keys.some((key) => seen.has(key))) hidden.push(...keys.map((key) => key * kvHeads + kvHead))
    }
  }
  return hidden
}
