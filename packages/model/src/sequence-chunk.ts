import type { Memory, PhsaConfig } from '@phsa/core'
import type { PagedStep } from './paged-decoder.js'

/** The next tokens of the one sequence of a generation. */
export interface SequenceChunk {
  readonly ids: Int32Array
  /** One byte a token, non-zero for punctuation. */
  readonly punctuation: Uint8Array
  /** Position of the first of them. */
  readonly start: number
}

/** A chunk on the device, for a sequence that owns all pages in order. */
export function uploadChunk(
  memory: Memory,
  { ids, punctuation, start }: SequenceChunk,
  phsa: PhsaConfig,
  { pages, pageTokens, maxKeys = start + ids.length }: { pages: number; pageTokens: number; maxKeys?: number },
): PagedStep {
  const tokens = ids.length
  return {
    ids: memory.upload(ids, [tokens]),
    positions: memory.upload(positionsFrom(start, tokens), [tokens]),
    marks: memory.upload(marksOf(punctuation), [tokens]),
    batch: {
      sequences: 1,
      queryTokens: tokens,
      maxQueries: tokens,
      maxKeys: Math.min(maxKeys, pages * pageTokens),
      maxTopK: phsa.topK,
      queryStarts: memory.upload(Int32Array.of(0, tokens), [2]),
      keyLengths: memory.upload(Int32Array.of(start + tokens), [1]),
      pageTable: memory.upload(positionsFrom(0, pages), [1, pages]),
      topK: memory.upload(Int32Array.of(phsa.topK), [1]),
      denseBelow: memory.upload(Int32Array.of(phsa.denseBelow), [1]),
    },
  }
}

/** Rewrites an uploaded chunk in place by another of the same length, so that a captured step sees it. */
export function writeChunk(memory: Memory, step: PagedStep, { ids, punctuation, start }: SequenceChunk): void {
  memory.write(step.ids, ids)
  memory.write(step.positions, positionsFrom(start, ids.length))
  memory.write(step.marks, marksOf(punctuation))
  memory.write(step.batch.keyLengths, Int32Array.of(start + ids.length))
}

/** Frees the tensors of an uploaded chunk. */
export function disposeChunk({ ids, positions, marks, batch }: PagedStep): void {
  const { queryStarts, keyLengths, pageTable, topK, denseBelow } = batch
  for (const tensor of [ids, positions, marks, queryStarts, keyLengths, pageTable, topK, denseBelow]) tensor.dispose()
}

function positionsFrom(start: number, count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, index) => start + index)
}

function marksOf(punctuation: Uint8Array): Float32Array {
  return Float32Array.from(punctuation, (mark) => (mark ? 1 : 0))
}
