import { sha256 } from '@noble/hashes/sha2'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils'
import { InvalidConfigError, RandomStream } from '@phsa/core'
import type { PackedRow, RowOptions, RowSource, TrainingData } from '../training-data.js'

/** A data set of a mixture, and its share. */
export interface MixturePart {
  readonly data: TrainingData
  /** Share of the rows, and so of the tokens, relative to the other weights. */
  readonly weight: number
  /** What reports call it. */
  readonly name: string
}

/** Data whose rows tell which set they are of. */
export interface Mixture extends TrainingData {
  rows(options: RowOptions): MixedRows
}

/**
 * Data whose rows come from several data sets, by weight. Which set a row comes from follows from its index and the seed alone, spread as
 * evenly as whole rows allow: after any number of rows each set has given its share of them, to within a few. Each set's rows come in its own
 * order, so each of its tokens comes once in each of its epochs.
 * @throws InvalidConfigError for no part, two of one name, or a weight that is no number from 1e-6 to 1e6
 */
export function mixtureOf(parts: readonly MixturePart[]): Mixture {
  if (parts.length === 0) throw new InvalidConfigError('mixture', 'the mixture has no part; give at least one data set.')
  for (const { name, weight } of parts) {
    if (!(weight >= 1e-6 && weight <= 1e6)) {
      throw new InvalidConfigError('mixture', `the weight of ${name} is ${weight}; it must be a number from 0.000001 to 1,000,000.`)
    }
  }
  const twice = parts.find(({ name }, index) => parts.findIndex((part) => part.name === name) !== index)
  if (twice) throw new InvalidConfigError('mixture', `two parts are called ${twice.name}; give each a name of its own.`)
  const identity = parts.map(({ data, weight, name }) => [name, weight, data.fingerprint])
  const largestIds = parts.map(({ data }) => data.largestId)
  return {
    fingerprint: bytesToHex(sha256(utf8ToBytes(JSON.stringify(identity)))).slice(0, 16),
    ...(largestIds.every((id) => id !== undefined) ? { largestId: Math.max(...largestIds) } : {}),
    rows: (options) => new MixedRows(parts, options),
  }
}

/** Rows of a mixture. */
export class MixedRows implements RowSource {
  readonly #parts: readonly { name: string; rows: RowSource }[]
  readonly #choices: readonly Choice[]

  /** Made by `mixtureOf`, which checks the parts. */
  constructor(parts: readonly MixturePart[], { sequenceTokens, seed }: RowOptions) {
    const random = new RandomStream(seed)
    // Seeds of their own: a data set that is in twice must not come in the same order twice.
    this.#parts = parts.map(({ name, data }) => ({ name, rows: data.rows({ sequenceTokens, seed: random.integer() }) }))
    this.#choices = choicesOf(
      parts.map(({ weight }) => weight),
      random,
    )
  }

  row(index: number): PackedRow {
    const { part, place } = this.sourceOf(index)
    return this.#parts[part].rows.row(place)
  }

  /** Which part a row comes from, and which of its rows it is. */
  sourceOf(index: number): { readonly part: number; readonly place: number } {
    let place = BigInt(index)
    for (const [part, choice] of this.#choices.entries()) {
      const taken = choice.takenOf(place)
      if (choice.takenOf(place + 1n) > taken) return { part, place: Number(taken) }
      place -= taken
    }
    return { part: this.#choices.length, place: Number(place) }
  }

  /** How many of the first rows come from each part. */
  shares(rows: number): { readonly name: string; readonly rows: number }[] {
    let left = BigInt(rows)
    return this.#parts.map(({ name }, part) => {
      const taken = this.#choices[part]?.takenOf(left) ?? left
      left -= taken
      return { name, rows: Number(taken) }
    })
  }
}

/**
 * Splits a stream of rows in two: the first part gets `share` of every `total` of them. Counts are exact integers of any size, since one that
 * is rounded would at some row give a set a row twice.
 */
class Choice {
  readonly #share: bigint
  readonly #total: bigint
  readonly #phase: bigint

  constructor(share: bigint, total: bigint, phase: bigint) {
    this.#share = share
    this.#total = total
    this.#phase = phase
  }

  /** How many of the first `count` rows the first part gets: its share, rounded down after a start that the seed shifts. */
  takenOf(count: bigint): bigint {
    return (count * this.#share + this.#phase) / this.#total
  }
}

/** One choice a part but the last: it, or one of those after it. */
function choicesOf(weights: readonly number[], random: RandomStream): Choice[] {
  // Doubling is exact, so this ends with integers in exactly the ratio of the weights.
  let scaled = [...weights]
  while (!scaled.every(Number.isInteger)) scaled = scaled.map((weight) => weight * 2)
  const shares = scaled.map(BigInt)
  return shares.slice(0, -1).map((share, part) => {
    const total = shares.slice(part).reduce((sum, other) => sum + other, 0n)
    return new Choice(share, total, (BigInt(random.integer()) * total) >> 32n)
  })
}
