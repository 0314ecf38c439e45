import type { Memory, PhsaConfig, Tensor } from '@phsa/core'
import type { PagedStep } from '@phsa/model'
import type { AttentionName } from './model-plan.js'

/** More positions than any sequence has: queries below it attend densely. */
const ALL_POSITIONS = 2 ** 30

/** Prompt tokens of one sequence. */
export interface PromptChunk {
  readonly ids: Int32Array
  /** One byte a token, non-zero for punctuation. */
  readonly punctuation: Uint8Array
  /** Position of the first of them. */
  readonly start: number
  /** Pages of the sequence, in order. */
  readonly table: Int32Array
}

/** A chunk of one sequence on the device; the caller disposes it. */
export function uploadPromptChunk(memory: Memory, { ids, punctuation, start, table }: PromptChunk, phsa: PhsaConfig): PagedStep {
  const tokens = ids.length
  return {
    ids: memory.upload(ids, [tokens]),
    positions: memory.upload(
      Int32Array.from(ids, (_, index) => start + index),
      [tokens],
    ),
    marks: memory.upload(Float32Array.from(punctuation), [tokens]),
    batch: {
      sequences: 1,
      queryTokens: tokens,
      maxQueries: tokens,
      maxKeys: start + tokens,
      maxTopK: phsa.topK,
      queryStarts: memory.upload(Int32Array.of(0, tokens), [2]),
      keyLengths: memory.upload(Int32Array.of(start + tokens), [1]),
      pageTable: memory.upload(table, [1, table.length]),
      topK: memory.upload(Int32Array.of(phsa.topK), [1]),
      denseBelow: memory.upload(Int32Array.of(0), [1]),
    },
  }
}

/** The next token of each of several sequences. */
export interface DecodedBatch {
  readonly sequences: number
  /** Pages of all sequences, those of each in a row. */
  readonly pagesEach: number
  readonly pageTokens: number
  readonly attention: AttentionName
}

/** A decoding step on the device, one token a sequence; `writePositions` says where it stands. The caller disposes it. */
export function uploadDecodeStep(
  memory: Memory,
  { sequences, pagesEach, pageTokens, attention }: DecodedBatch,
  phsa: PhsaConfig,
): PagedStep {
  const each = (value: (index: number) => number, count = sequences) => Int32Array.from({ length: count }, (_, index) => value(index))
  return {
    ids: memory.upload(
      each((sequence) => sequence),
      [sequences],
    ),
    positions: memory.alloc([sequences], 'i32'),
    marks: memory.alloc([sequences], 'f32'),
    batch: {
      sequences,
      queryTokens: sequences,
      maxQueries: 1,
      maxKeys: pagesEach * pageTokens,
      maxTopK: phsa.topK,
      queryStarts: memory.upload(
        each((sequence) => sequence, sequences + 1),
        [sequences + 1],
      ),
      keyLengths: memory.alloc([sequences], 'i32'),
      pageTable: memory.upload(
        each((page) => page, sequences * pagesEach),
        [sequences, pagesEach],
      ),
      topK: memory.upload(
        each(() => (attention === 'dense' ? 0 : phsa.topK)),
        [sequences],
      ),
      denseBelow: memory.upload(
        each(() => (attention === 'dense' ? ALL_POSITIONS : 0)),
        [sequences],
      ),
    },
  }
}

/** Moves all sequences of a decoding step to a position. */
export function writePosition(memory: Memory, { positions, batch }: PagedStep, position: number): void {
  memory.write(positions, new Int32Array(batch.sequences).fill(position))
  memory.write(batch.keyLengths, new Int32Array(batch.sequences).fill(position + 1))
}

/** Frees the tensors of a step. */
export function disposeStep({ ids, positions, marks, batch }: PagedStep): void {
  const { queryStarts, keyLengths, pageTable, topK, denseBelow } = batch
  const tensors: Tensor[] = [ids, positions, marks, queryStarts, keyLengths, pageTable, topK, denseBelow]
  for (const tensor of tensors) tensor.dispose()
}
