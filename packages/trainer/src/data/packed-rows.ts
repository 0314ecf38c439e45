import { InvalidConfigError, RandomStream } from '@phsa/core'
import type { PackedRow, RowOptions, RowSource } from '../training-data.js'
import type { TokenizedDocuments } from './tokenized-documents.js'

/**
 * Rows of exactly `sequenceTokens` cut from an endless stream: epoch after epoch of all documents, each epoch in an order of its own.
 * A document that crosses a row's end goes on in another row as a sequence of its own, and the last row of an epoch is filled by the next
 * one, so each token comes exactly once an epoch. The rows of an epoch are shuffled too: a long document would otherwise fill whole batches.
 */
export class PackedRows implements RowSource {
  readonly #documents: TokenizedDocuments
  readonly #options: RowOptions
  readonly #total: number
  // The last epoch asked for: rows come in order, so one is nearly always enough.
  #rowOrder: { epoch: number; order: Int32Array } | undefined
  #documentOrder: { epoch: number; order: Int32Array; ends: Float64Array } | undefined

  /** @throws InvalidConfigError for a row length below 3, or documents without a token */
  constructor(documents: TokenizedDocuments, options: RowOptions) {
    const { sequenceTokens } = options
    // Two documents that meet in a row leave at least two tokens of one of them, so every row has something to predict.
    if (!Number.isInteger(sequenceTokens) || sequenceTokens < 3) {
      throw new InvalidConfigError('batch.tokens', `a row takes ${sequenceTokens} tokens; it must be an integer of at least 3.`)
    }
    this.#documents = documents
    this.#options = options
    this.#total = documents.starts[documents.starts.length - 1]
    if (this.#total === 0) throw new InvalidConfigError('data', 'the data has no token; give a text with at least one document.')
  }

  /** Rows that start in the epochs before this one. */
  rowsBefore(epoch: number): number {
    return Math.floor((epoch * this.#total) / this.#options.sequenceTokens)
  }

  row(index: number): PackedRow {
    const { sequenceTokens } = this.#options
    // Epoch e owns rows rowsBefore(e) up to rowsBefore(e + 1); with texts shorter than a row some epochs own none.
    let epoch = Math.floor((index * sequenceTokens) / this.#total)
    while (this.rowsBefore(epoch + 1) <= index) epoch++
    const first = this.rowsBefore(epoch)
    const place = first + this.#rowsOf(epoch)[index - first]
    return { sequences: [...this.#pieces(place * sequenceTokens, sequenceTokens)] }
  }

  *#pieces(start: number, count: number): Generator<Int32Array> {
    const { starts } = this.#documents
    let epoch = Math.floor(start / this.#total)
    let offset = start - epoch * this.#total
    let left = count
    while (left > 0) {
      const { order, ends } = this.#documentsOf(epoch)
      let place = firstAbove(ends, offset)
      while (left > 0 && place < order.length) {
        const document = order[place]
        const length = Math.min(left, ends[place] - offset)
        const from = starts[document + 1] - (ends[place] - offset)
        yield this.#documents.read(from, length)
        left -= length
        offset += length
        if (offset === ends[place]) place++
      }
      epoch++
      offset = 0
    }
  }

  #rowsOf(epoch: number): Int32Array {
    if (this.#rowOrder?.epoch !== epoch) {
      const order = shuffled(this.rowsBefore(epoch + 1) - this.rowsBefore(epoch), epochStream(this.#options.seed, epoch, 0x51ed270b))
      this.#rowOrder = { epoch, order }
    }
    return this.#rowOrder.order
  }

  #documentsOf(epoch: number): { order: Int32Array; ends: Float64Array } {
    if (this.#documentOrder?.epoch !== epoch) {
      const { starts } = this.#documents
      const order = shuffled(starts.length - 1, epochStream(this.#options.seed, epoch, 0x2545f491))
      let end = 0
      const ends = Float64Array.from(order, (document) => {
        end += starts[document + 1] - starts[document]
        return end
      })
      this.#documentOrder = { epoch, order, ends }
    }
    return this.#documentOrder
  }
}

/** Index of the first document that ends after `offset`. */
function firstAbove(ends: Float64Array, offset: number): number {
  let low = 0
  let high = ends.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (ends[middle] > offset) high = middle
    else low = middle + 1
  }
  return low
}

/** A stream of its own for each epoch and purpose: an order can be found again without replaying those before it. */
function epochStream(seed: number, epoch: number, purpose: number): RandomStream {
  const mixed = new RandomStream(seed ^ purpose).integer() ^ Math.imul(epoch + 1, 0x9e3779b1)
  return new RandomStream(new RandomStream(mixed).integer())
}

/** 0 to count - 1 in random order (Fisher-Yates). */
function shuffled(count: number, random: RandomStream): Int32Array {
  const order = Int32Array.from({ length: count }, (_, index) => index)
  for (let last = count - 1; last > 0; last--) {
    const other = random.below(last + 1)
    const kept = order[last]
    order[last] = order[other]
    order[other] = kept
  }
  return order
}
