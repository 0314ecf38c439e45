/** One row of a batch: sequences packed one after the other. No token attends across two of them. */
export interface PackedRow {
  /** Token ids; the lengths sum to the row's `sequenceTokens`. */
  readonly sequences: readonly Int32Array[]
  /** How much predicting each token counts, relative to 1; one array a sequence, of its length. Missing: every token counts 1. */
  readonly targetWeights?: readonly Float32Array[]
}

/** How long rows are, and which order they come in. */
export interface RowOptions {
  /** Tokens a row, exactly. */
  readonly sequenceTokens: number
  /** Decides the order; the same seed gives the same rows. */
  readonly seed: number
}

/** An endless order of rows that can be entered anywhere, so that the position of a training run is one number. */
export interface RowSource {
  row(index: number): PackedRow
}

/** What a trainer learns from. `TextDataset` is one; anything else that gives rows by index will do. */
export interface TrainingData {
  /** Names the content: a checkpoint resumes only on data with the fingerprint that it was written with. */
  readonly fingerprint: string
  /** Largest token id, where it is known: compared with the model's vocabulary before the first step. */
  readonly largestId?: number
  rows(options: RowOptions): RowSource
}
