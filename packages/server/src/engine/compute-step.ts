import type { Tensor } from '@phsa/core'
import type { AttentionWatch, PagedDecoder, PagedStep } from '@phsa/model'
import type { StepArrays, StepShape } from './step-arrays.js'

/** A step on the device, with what is drawn from it. */
export interface StepTensors extends PagedStep {
  /** i32 [n]: rows that are drawn from; -1 gives logits of 0. */
  readonly rows: Tensor
  /** f32 [n, 5], see `ModelOps.sample`. */
  readonly control: Tensor
}

/** What a step gives. The caller disposes it. */
export interface StepResult {
  /** [Tq, E], before the final norm; only where it is asked for. */
  readonly hidden: Tensor | undefined
  /** [n, V] of the rows. */
  readonly logits: Tensor
  /** i32 [n]: a token each. */
  readonly drawn: Tensor
}

/** Brings a step to the device. The tensors belong to the caller, or to the scope around the call. */
export function uploadStep(
  { model, options }: PagedDecoder,
  shape: StepShape,
  arrays: StepArrays,
  { rows, control }: { readonly rows: Int32Array; readonly control: Float32Array },
): StepTensors {
  const { memory } = model.backend
  const { sequences, queryTokens, maxQueries, pagesPerSequence, maxTopK } = shape
  return {
    ids: memory.upload(arrays.ids, [queryTokens]),
    positions: memory.upload(arrays.positions, [queryTokens]),
    marks: memory.upload(arrays.marks, [queryTokens]),
    rows: memory.upload(rows, [rows.length]),
    control: memory.upload(control, [rows.length, 5]),
    batch: {
      sequences,
      queryTokens,
      maxQueries,
      maxKeys: pagesPerSequence * options.pageTokens,
      maxTopK,
      queryStarts: memory.upload(arrays.queryStarts, [sequences + 1]),
      keyLengths: memory.upload(arrays.keyLengths, [sequences]),
      pageTable: memory.upload(arrays.pageTable, [sequences, pagesPerSequence]),
      topK: memory.upload(arrays.topK, [sequences]),
      denseBelow: memory.upload(arrays.denseBelow, [sequences]),
    },
  }
}

/** Queues all layers, the logits of the rows and a draw from each. Uploads nothing, so that it can be recorded. */
export function computeStep(decoder: PagedDecoder, step: StepTensors, keepHidden = false, watch?: AttentionWatch): StepResult {
  const { memory, ops } = decoder.model.backend
  return memory.scope(() => {
    const hidden = decoder.advance(step, watch)
    const logits = decoder.logits(hidden, step.rows)
    return { hidden: keepHidden ? hidden : undefined, logits, drawn: ops.sample(logits, step.control) }
  })
}
