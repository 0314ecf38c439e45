import { NormalPool } from './normal-pool.js'
import { roundToBfloat16 } from './round-to-bfloat16.js'

/**
 * - `A`: keys of a block share a direction, and queries wander slowly between anchors, so that neighbours choose some of the same blocks
 * - `S`: the same with queries that have less of their own, so that neighbours choose most of the same blocks
 * - `B`: independent normal numbers
 */
export type DataKind = 'A' | 'S' | 'B'

export interface DataShape {
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly blockSize: number
  /** Tokens of one sequence. */
  readonly length: number
}

/** Values as bf16 holds them. */
export interface AttentionData {
  /** [T, Hq, D] */
  readonly q: Float32Array
  /** [T, Hkv, D] */
  readonly k: Float32Array
  readonly v: Float32Array
}

/** How much of a key is its own; the rest, of size 1, it has in common with its block. */
const KEY_OWN = 0.8
/** Tokens from one anchor of the queries to the next. */
const ANCHOR_TOKENS = 64
/** Size of what queries of a group share with their neighbours. */
const QUERY_COMMON = 1.2
/**
 * Size of what is a query's own, in a group of two heads: with that of A neighbours' choices overlap about as much as in a small trained model
 * (benchmarks/README.md). It grows with the root of the group's size, because heads of a group choose together and their own parts average out.
 */
const QUERY_OWN = { A: 0.9, S: 0.35 } as const

/** What the arrays of a seed hold. */
interface Made {
  readonly kind: DataKind
  readonly shape: DataShape
  readonly data: AttentionData
}

/**
 * Makes inputs of any size in seconds; the same for the same pools and seed, and a shorter sequence is the beginning of a longer one, which costs
 * nothing after it. Arrays are used again by the next call with their seed.
 */
export class AttentionDataSource {
  readonly #used = new Map<string, Float32Array>()
  readonly #made = new Map<number, Made>()
  readonly #pools: Readonly<Record<'q' | 'k' | 'v', NormalPool>>

  /** @param drawn random numbers of each pool */
  constructor(drawn?: number) {
    this.#pools = { q: new NormalPool(1, drawn), k: new NormalPool(2, drawn), v: new NormalPool(3, drawn) }
  }

  make(shape: DataShape, kind: DataKind, seed: number): AttentionData {
    const { heads, kvHeads, headDim, length } = shape
    const made = this.#made.get(seed)
    if (made && beginsWith(made, kind, shape)) return beginning(made.data, shape)
    // Not until they are whole again.
    this.#made.delete(seed)
    const fill = (name: 'q' | 'k' | 'v', count: number) => this.#pools[name].fill(this.#array(`${name} ${seed}`, count), seed)
    const q = fill('q', length * heads * headDim)
    const k = fill('k', length * kvHeads * headDim)
    const v = fill('v', length * kvHeads * headDim)
    if (kind !== 'B') {
      const anchors = this.#pools.v.take((Math.floor(length / ANCHOR_TOKENS) + 2) * kvHeads * headDim, seed + 1)
      const common = this.#pools.q.take(Math.ceil(length / shape.blockSize) * kvHeads * headDim, seed + 2)
      addToQueries(q, anchors, QUERY_OWN[kind], shape)
      addToKeys(k, common, shape)
    }
    this.#made.set(seed, { kind, shape, data: { q, k, v } })
    return { q, k, v }
  }

  #array(name: string, count: number): Float32Array {
    const known = this.#used.get(name)
    if (known && known.length >= count) return known.subarray(0, count)
    const larger = new Float32Array(count)
    this.#used.set(name, larger)
    return larger
  }
}

/** Whether what was made begins with what is wanted. */
function beginsWith(made: Made, kind: DataKind, wanted: DataShape): boolean {
  const isSame = (['heads', 'kvHeads', 'headDim', 'blockSize'] as const).every((name) => made.shape[name] === wanted[name])
  return isSame && made.kind === kind && made.shape.length >= wanted.length
}

function beginning({ q, k, v }: AttentionData, { heads, kvHeads, headDim, length }: DataShape): AttentionData {
  const [queries, keys] = [length * heads * headDim, length * kvHeads * headDim]
  return { q: q.subarray(0, queries), k: k.subarray(0, keys), v: v.subarray(0, keys) }
}

/** q = own + common, the common part on the straight line from one anchor to the next. */
function addToQueries(q: Float32Array, anchors: Float32Array, ownOfTwo: number, { heads, kvHeads, headDim, length }: DataShape): void {
  const group = heads / kvHeads
  const own = ownOfTwo * Math.sqrt(group / 2)
  const row = kvHeads * headDim
  for (let token = 0; token < length; token++) {
    const anchor = Math.floor(token / ANCHOR_TOKENS) * row
    const share = (token % ANCHOR_TOKENS) / ANCHOR_TOKENS
    for (let head = 0; head < heads; head++) {
      const from = anchor + Math.floor(head / group) * headDim
      const to = (token * heads + head) * headDim
      for (let d = 0; d < headDim; d++) {
        const common = anchors[from + d] + share * (anchors[from + row + d] - anchors[from + d])
        q[to + d] = own * q[to + d] + QUERY_COMMON * common
      }
    }
  }
  roundToBfloat16(q)
}

function addToKeys(k: Float32Array, common: Float32Array, { kvHeads, headDim, length, blockSize }: DataShape): void {
  const row = kvHeads * headDim
  for (let token = 0; token < length; token++) {
    const from = Math.floor(token / blockSize) * row
    const to = token * row
    for (let index = 0; index < row; index++) k[to + index] = KEY_OWN * k[to + index] + common[from + index]
  }
  roundToBfloat16(k)
}
