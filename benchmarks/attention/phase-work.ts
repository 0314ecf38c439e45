import { type AttentionCost, type AttentionSpec, attentionCost, bytesPerElement, exactCounts, scorePasses } from '@phsa/core'

/** The least that a phase computes and moves: each input read once, each result written once. Plain JSON. */
export interface Work {
  /** A multiplication and an addition are two. */
  readonly flops: number
  readonly bytes: number
}

/** The parts of attention that are timed alone. */
export type Phase = 'pool' | 'select' | 'attend' | 'backward'

/** Work of each phase for one sequence of so many tokens, and of the whole forward pass, by core's account (`attentionCost`). */
export function phaseWork(spec: AttentionSpec, length: number): Record<Phase | 'forward', Work> {
  const counts = exactCounts(spec, [length])
  const cost: AttentionCost = attentionCost(spec, counts)
  const { heads, kvHeads, headDim, dtype, topK } = spec
  const element = bytesPerElement[dtype]
  const queryBytes = length * heads * headDim * element
  const keyBytes = length * kvHeads * headDim * element
  const representativeBytes = counts.representatives * kvHeads * headDim * bytesPerElement.f32
  const selectedBytes = length * kvHeads * topK * bytesPerElement.i32
  const selects = counts.representatives > 0
  return {
    pool: selects ? { flops: 2 * length * kvHeads * headDim, bytes: keyBytes + representativeBytes } : { flops: 0, bytes: 0 },
    select: selects
      ? { flops: scorePasses(spec) * cost.scoreFlops, bytes: queryBytes + representativeBytes + selectedBytes }
      : { flops: 0, bytes: 0 },
    attend: { flops: cost.attentionFlops, bytes: cost.tensorBytes + selectedBytes },
    // Five products where the forward pass has two; reads what attend read and wrote and dOut, writes dq, dk and dv.
    backward: { flops: (cost.attentionFlops * 5) / 2, bytes: cost.tensorBytes + selectedBytes + 2 * queryBytes + 2 * keyBytes },
    forward: { flops: cost.totalFlops, bytes: cost.totalBytes },
  }
}
