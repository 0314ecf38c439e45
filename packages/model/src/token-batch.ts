import type { PunctuationTable } from '@phsa/core'
import { InvalidInputError } from './invalid-input-error.js'

/** Packed sequences of tokens. */
export interface TokenBatch {
  /** [T] */
  readonly ids: Int32Array
  /** Tokens of each sequence; their sum is T. */
  readonly lengths: readonly number[]
  /** One byte a token [T], non-zero for punctuation (spec 2). */
  readonly punctuation: Uint8Array
}

/** Packed sequences with the target of each token and its weight in the loss. */
export interface TrainingBatch extends TokenBatch {
  /** `[T]`: the next token within the sequence; anything where the weight is 0. */
  readonly targets: Int32Array
  /** `[T]`: weight of each token in the loss, 0 where there is no target; they sum to 1 for the mean. */
  readonly weights: Float32Array
}

/** Tokens whose likelihood is asked for, and the rows of a batch that predict them. */
export interface RowTargets {
  /** `[n]`: rows of the batch; the same one may stand several times. */
  readonly rows: Int32Array
  /** `[n]`: token ids. */
  readonly targets: Int32Array
}

/** Packs sequences for a forward pass. @param punctuation without it no token counts as punctuation */
export function tokenBatch(sequences: readonly Int32Array[], punctuation?: PunctuationTable): TokenBatch {
  const lengths = sequences.map((sequence) => sequence.length)
  const ids = new Int32Array(lengths.reduce((total, length) => total + length, 0))
  let start = 0
  for (const sequence of sequences) {
    ids.set(sequence, start)
    start += sequence.length
  }
  return { ids, lengths, punctuation: punctuation ? punctuation.marks(ids) : new Uint8Array(ids.length) }
}

/**
 * Packs sequences for next-token prediction: the loss is the mean over all predicted tokens; the last token of a sequence predicts nothing.
 * @param punctuation without it no token counts as punctuation
 * @throws InvalidInputError when no sequence has two tokens
 */
export function nextTokenBatch(sequences: readonly Int32Array[], punctuation?: PunctuationTable): TrainingBatch {
  const predicted = sequences.reduce((total, sequence) => total + Math.max(0, sequence.length - 1), 0)
  if (predicted === 0) throw new InvalidInputError('no sequence has a next token to predict; give at least one of two tokens.')
  const batch = tokenBatch(sequences, punctuation)
  const targets = new Int32Array(batch.ids.length)
  const weights = new Float32Array(batch.ids.length)
  let start = 0
  for (const { length } of sequences) {
    targets.set(batch.ids.subarray(start + 1, start + length), start)
    weights.fill(1 / predicted, start, Math.max(start, start + length - 1))
    start += length
  }
  return { ...batch, targets, weights }
}

/**
 * Checks ids and lengths on the host, because a device may read past a table without a word.
 * @throws InvalidInputError naming the first fault
 */
export function requireTokens(batch: TokenBatch, vocabSize: number, maxPositions: number): void {
  const { ids, lengths, punctuation } = batch
  const total = lengths.reduce((sum, length) => sum + length, 0)
  if (total !== ids.length) throw new InvalidInputError(`the lengths sum to ${total} but there are ${ids.length} ids; they must agree.`)
  if (ids.length === 0) throw new InvalidInputError('the batch has no tokens; give at least one.')
  if (punctuation.length !== ids.length) {
    throw new InvalidInputError(`punctuation has ${punctuation.length} entries for ${ids.length} tokens; give one byte a token.`)
  }
  const longest = lengths.reduce((most, length) => Math.max(most, length), 0)
  if (longest > maxPositions) {
    throw new InvalidInputError(`a sequence has ${longest} tokens; this model takes at most ${maxPositions} (max_position_embeddings).`)
  }
  requireIds(ids, vocabSize, 'ids')
}

/** @throws InvalidInputError for a row that the batch does not have */
export function requireRows(rows: Int32Array, { ids }: TokenBatch): void {
  const stranger = rows.find((row) => row < 0 || row >= ids.length)
  if (stranger !== undefined) throw new InvalidInputError(`rows has ${stranger}; this batch has rows 0 to ${ids.length - 1}.`)
}

/** @throws InvalidInputError for the first id outside 0 to vocabSize - 1 */
export function requireIds(ids: Int32Array, vocabSize: number, name: string): void {
  const index = ids.findIndex((id) => id < 0 || id >= vocabSize)
  if (index < 0) return
  throw new InvalidInputError(
    `${name}[${index}] is ${ids[index]}; ids are 0 to ${vocabSize - 1} here. Does the tokenizer belong to this model?`,
  )
}
