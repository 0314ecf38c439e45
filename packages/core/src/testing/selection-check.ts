import type { AttentionSpec } from '../contract/attention-spec.js'
import type { HostArray } from '../contract/tensor.js'
import type { PackedLayout } from '../packed-layout.js'
import { candidateBlocks, queryRows } from './packed-rows.js'
import { boundedCheck, type TensorCheck } from './tensor-check.js'

/**
 * A choice of blocks against the reference scores (spec 11): exactly min(topK, candidates) a row, ascending, unforced, complete, then -1;
 * each within `delta` times the row's largest |S| of the topK-th best.
 * @param selected i32 [Hkv, Tq, topK]
 * @param scores from `selectionScores`
 */
export function selectionChecks(
  name: string,
  selected: HostArray,
  scores: readonly Float64Array[],
  layout: PackedLayout,
  spec: AttentionSpec,
  delta: number,
): TensorCheck[] {
  const length = spec.kvHeads * layout.totalQueries * spec.topK
  if (selected.length !== length) {
    return [boundedCheck(`${name} form`, Number.POSITIVE_INFINITY, 0, `${selected.length} entries instead of ${length}`)]
  }
  const faults: string[] = []
  let worst = 0
  for (let kvHead = 0; kvHead < spec.kvHeads; kvHead++) {
    for (const { row, position } of queryRows(layout)) {
      const index = kvHead * layout.totalQueries + row
      const chosen = selected.subarray(index * spec.topK, (index + 1) * spec.topK)
      const candidates = candidateBlocks(position, spec)
      const fault = formFault(chosen, candidates)
      if (fault) faults.push(`KV head ${kvHead}, row ${row}: ${fault}`)
      else worst = Math.max(worst, shortfall(chosen, candidates, scores[index]))
    }
  }
  return [
    boundedCheck(`${name} form`, faults.length, 0, faults[0]),
    boundedCheck(`${name} score`, worst, delta, 'a chosen block scores too far below the topK-th best'),
  ]
}

/** The choice of a row by given scores: highest first, ties to the lower index; ascending, padded with -1 (spec 4). */
export function bestBlocks(scores: HostArray, position: number, spec: AttentionSpec): number[] {
  const chosen = candidateBlocks(position, spec)
    .sort((a, b) => scores[b] - scores[a] || a - b)
    .slice(0, spec.topK)
    .sort((a, b) => a - b)
  return Array.from({ length: spec.topK }, (_, index) => chosen[index] ?? -1)
}

function formFault(chosen: HostArray, candidates: readonly number[]): string | undefined {
  const count = Math.min(chosen.length, candidates.length)
  for (let index = 0; index < chosen.length; index++) {
    const block = chosen[index]
    if (index >= count) {
      if (block !== -1) return `entry ${index} is ${block}; ${count} blocks can be chosen and -1 must follow`
    } else if (!candidates.includes(block)) return `block ${block} is not complete and unforced`
    else if (index > 0 && block <= chosen[index - 1]) return `block ${block} follows ${chosen[index - 1]}; they must ascend`
  }
  return undefined
}

/** How far the worst chosen block lies below the last one of the best choice, over the largest |S| of the candidates. */
function shortfall(chosen: HostArray, candidates: readonly number[], scores: Float64Array): number {
  const count = Math.min(chosen.length, candidates.length)
  if (count === 0) return 0
  const ordered = candidates.map((block) => scores[block]).sort((a, b) => b - a)
  const largest = Math.max(...ordered.map(Math.abs))
  if (largest === 0) return 0
  const lowest = Math.min(...Array.from(chosen.subarray(0, count), (block) => scores[block]))
  return Math.max(0, ordered[count - 1] - lowest) / largest
}
