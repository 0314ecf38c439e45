import type { AttentionSpec, Layout } from '@phsa/core'
import type { GpuDevice } from '../device/gpu-device.js'

/** How the pairs of queries and keys of dense attention are cut, so that what belongs to each can lie in memory. */
export interface DenseChunk {
  /** Rows of a tile, of q or of k. */
  readonly tile: 64 | 128
  /** Tiles of a chunk. */
  readonly queryTiles: number
  readonly keyTiles: number
}

/** Probabilities of a chunk at most, and gradients of scores likewise. */
const MOST_PAIR_BYTES = 2 ** 28
const PAIR_BYTES = Float32Array.BYTES_PER_ELEMENT
/** f32 sums of a tensor of f16 at most. */
const MOST_SUM_BYTES = 2 ** 30
/** Tiles of keys that keep a large GPU busy. */
const LEAST_KEY_TILES = 128
/** Chunks are launched whether or not a query sees a key in them, which is known on the device: of several sequences most are empty. */
const MOST_SEQUENCES = 4

/** The chunks for gradients of dense attention as products of matrices; undefined where these are no faster than tiles of their own, or have no room. */
export function denseChunk({ gpu }: Pick<GpuDevice, 'gpu'>, spec: AttentionSpec, layout: Layout): DenseChunk | undefined {
  const { heads, kvHeads, headDim, dtype } = spec
  // Every query sees all keys before it.
  const isDense = Math.max(spec.initTokens, spec.localTokens, spec.denseBelow) >= layout.keyTokens
  if (!isDense || headDim < 64) return undefined
  const tile = headDim === 64 ? 64 : 128
  if (layout.sequences > MOST_SEQUENCES || (layout.keyTokens / tile) * kvHeads < LEAST_KEY_TILES) return undefined
  const mostBytes = gpu.limits.maxStorageBufferBindingSize
  const sumBytes = layout.queryTokens * heads * headDim * Float32Array.BYTES_PER_ELEMENT
  if (dtype === 'f16' && sumBytes > Math.min(MOST_SUM_BYTES, mostBytes)) return undefined
  // As many workgroups for sums of queries as for those of keys.
  const pairs = Math.min(MOST_PAIR_BYTES, mostBytes) / PAIR_BYTES / heads / tile ** 2
  const keyTiles = 2 ** Math.floor(Math.log2(Math.sqrt(pairs * (heads / kvHeads))))
  const queryTiles = Math.floor(pairs / keyTiles)
  return keyTiles >= 1 && queryTiles >= 1 ? { tile, queryTiles, keyTiles } : undefined
}
