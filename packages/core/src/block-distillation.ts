import type { AttentionBackend } from './contract/attention-backend.js'
import type { Tensor } from './contract/tensor.js'
import type { PackedLayout } from './packed-layout.js'
import type { RandomStream } from './random-stream.js'
import type { PolicyInput } from './selection-policy.js'

/** Query rows that the distillation loss samples: up to `perSequence` a sequence without repetition, ascending (spec 10). */
export function sampleDistillationRows(layout: PackedLayout, perSequence: number, random: RandomStream): Int32Array {
  const rows: number[] = []
  for (let sequence = 0; sequence < layout.sequences; sequence++) {
    const start = layout.queryStarts[sequence]
    const count = layout.queryLengths[sequence]
    let wanted = Math.min(perSequence, count)
    // Selection sampling: keeps each row with probability wanted / left, which gives every subset the same chance.
    for (let row = 0; row < count; row++) {
      if (random.uniform() * (count - row) >= wanted) continue
      rows.push(start + row)
      wanted--
    }
  }
  return Int32Array.from(rows)
}

/** What the distillation loss of one layer reads, and the gradients that it adds to (spec 10). */
export interface BlockDistillationInput extends PolicyInput {
  /** i32 [n], see `sampleDistillationRows`. */
  readonly rows: Tensor
  /** Weight in the objective over the number of layers. */
  readonly coefficient: number
  /** [Tq, Hq, D] and [Tk, Hkv, D]: gradients are added to them. */
  readonly dq: Tensor
  readonly dk: Tensor
  /** f32 [Hkv]: added to, where lambda is learned. */
  readonly dLambda?: Tensor
}

/**
 * One layer's block distillation: loss f32 [1] without the coefficient, and its gradients added to dq, dk and dLambda (spec 10).
 * The teacher is the dense attention of this layer's own q and k, without gradient.
 */
export function blockDistillation(backend: AttentionBackend, input: BlockDistillationInput): Tensor {
  const { q, k, weights, layout, spec, rows, coefficient, dq, dk, dLambda } = input
  const { attention, memory } = backend
  return memory.scope(() => {
    const mass = attention.blockMass({ q, k, rows, layout, spec })
    const reps = attention.poolBlocks({ k, weights, layout, spec })
    const { loss, dReps } = attention.selectionLossBackward({ q, reps, mass, rows, layout, spec, coefficient, dq })
    attention.poolBlocksBackward({ dReps, k, weights, layout, spec, dk, dLambda })
    return loss
  })
}
