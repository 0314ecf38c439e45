import type { RunLength } from '../trainer-options.js'

/** The part of a plan that says which rows a step takes. */
interface RowPlan {
  /** `accumulate` counts the micro-batches of all ranks. */
  readonly batch: { readonly sequences: number; readonly tokens: number; readonly accumulate: number }
  /** Of the whole run. */
  readonly rows: number
}

/**
 * Rows of a whole run: those of all its steps, or as many as hold `totalTokens`, so that its last step may take fewer than the others.
 * @param ranks rows are rounded up to a multiple of it, because each rank takes part in each step
 */
export function countRows(
  { steps = 0, totalTokens }: RunLength,
  { sequences, tokens, accumulate }: RowPlan['batch'],
  ranks: number,
): number {
  return totalTokens === undefined ? steps * sequences * accumulate : Math.ceil(Math.ceil(totalTokens / tokens) / ranks) * ranks
}

/**
 * Indices of the rows of each micro-batch of the step that starts at a row. What is left for the last step is spread over as few micro-batches
 * as hold it, evenly and as many for each rank; loss and gradients are weighted by target tokens, so each of its tokens counts as in a full one.
 * A run that goes on with more ranks may be left with rows that they cannot share evenly: then they take the next ones too.
 */
export function stepRows(row: number, { batch: { sequences, accumulate }, rows }: RowPlan, ranks: number): number[][] {
  const count = Math.min(sequences * accumulate, ranks * Math.ceil((rows - row) / ranks))
  const windows = ranks * Math.ceil(count / (sequences * ranks))
  const borderOf = (window: number) => row + Math.floor((window * count) / windows)
  return Array.from({ length: windows }, (_, window) => {
    const first = borderOf(window)
    return Array.from({ length: borderOf(window + 1) - first }, (_, index) => first + index)
  })
}
