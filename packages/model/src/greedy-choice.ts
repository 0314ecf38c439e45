import type { Memory, Tensor } from '@phsa/core'
import type { PagedDecoder } from './paged-decoder.js'

/** What picking the likeliest token reads; on the device beforehand, because a captured step uploads nothing. */
export interface Greedy {
  /** i32 [1]: row of the last token. */
  readonly row: Tensor
  /** f32 [1, 5], see `ModelOps.sample`. */
  readonly control: Tensor
}

/** Uploads what the greedy choice from row `row` of the hidden states [Tq, E] reads at each step. */
export function uploadGreedy(memory: Memory, row: number): Greedy {
  return { row: memory.upload(Int32Array.of(row), [1]), control: memory.upload(Float32Array.of(0, 0, 1, 0, 0), [1, 5]) }
}

/** The likeliest token after one row of `hidden`: i32 [1]. */
export function likeliest(decoder: PagedDecoder, hidden: Tensor, { row, control }: Greedy): Tensor {
  return decoder.model.backend.ops.sample(decoder.logits(hidden, row), control)
}
