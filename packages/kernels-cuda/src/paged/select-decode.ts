import type { AttentionSpec, PagedBatch } from '@phsa/core'
import { rowTiles } from '../attention/kernel-grid.js'
import type { KernelDevice } from '../attention/kernel-host.js'
import { SelectDecodeParams } from '../attention/kernel-params.js'
import { packParams } from '../attention/param-layout.js'
import type { PagedSelectCall } from './select-paged.js'

/** Of select_decode_sm90.cu: threads, columns of a product, blocks that a thread block scores at a time, and at most what it has of shared memory by itself. */
const THREADS = 512
const COLUMNS = 8
const CHUNK = 256
const STATIC_BYTES = 35 * 1024
/** Shared memory of a thread block of a Hopper GPU. */
const MOST_SHARED_BYTES = 227 * 1024
/** Chunks on their way at once. */
const STAGES = 2
const HALF_BYTES = 2
/** Dynamic shared memory that leaves no room for another thread block. */
const WHOLE_MULTIPROCESSOR = MOST_SHARED_BYTES - STATIC_BYTES
/**
 * Thread blocks of a cluster, the most first: as many as leave each a multiprocessor. That a GPU has so many is not enough, for a cluster lies in
 * one part of it.
 */
const CLUSTERS = [16, 8, 4, 2]
/** Products that a warp makes of each representative: at most so many, and those by one size of clusters only. */
const MOST_PRODUCTS = 2
const CLUSTER_OF_MOST_PRODUCTS = 8
/** Blocks of a product. */
const TILE = 16

/** What a choice by clusters needs of a device besides. */
export interface ClusterDevice {
  /** How many clusters of a kernel, of so many thread blocks, the GPU runs at once where nothing else does. */
  clustersAtOnce(kernel: string, cluster: number, threads: number, sharedBytes: number): number
}

interface DecodeShape {
  readonly kernel: string
  readonly cluster: number
  readonly tileQueries: number
  readonly tiles: number
  readonly capacity: number
  readonly sharedBytes: number
}

/** Queues the choice of blocks for a step of decoding. @returns whether it did: few queries a sequence, and a GPU that has the kernel */
export function selectDecode(device: KernelDevice & ClusterDevice, spec: AttentionSpec, batch: PagedBatch, call: PagedSelectCall): boolean {
  const shape = CLUSTERS.map((cluster) => decodeShape(device, spec, batch, call, cluster)).find((shape) => shape !== undefined)
  if (!shape) return false
  const { kernel, cluster, tileQueries, tiles, capacity, sharedBytes } = shape
  const { q, reps, selected, sequences, rules } = call
  device.launch({
    kernel,
    grid: [tiles * spec.kvHeads * cluster, 1, 1],
    block: THREADS,
    sharedBytes,
    overlaps: ['append_tokens'],
    params: packParams(SelectDecodeParams, { q, reps, selected, sequences, rules, tileQueries, capacity }),
  })
  return true
}

/** The launch with clusters of so many thread blocks; undefined where there is none, or a smaller one is better. */
function decodeShape(
  device: KernelDevice & ClusterDevice,
  { heads, kvHeads, headDim, blockSize }: AttentionSpec,
  { maxQueries, maxKeys }: PagedBatch,
  { sequences: { queryTokens, sequences } }: PagedSelectCall,
  cluster: number,
): DecodeShape | undefined {
  const group = heads / kvHeads
  const products = Math.max(1, Math.ceil((maxQueries * group) / COLUMNS))
  const units = Math.ceil(queryTokens / Math.max(1, maxQueries)) * kvHeads
  const isSmallest = cluster === CLUSTERS[CLUSTERS.length - 1]
  const isOwn = products === MOST_PRODUCTS ? cluster === CLUSTER_OF_MOST_PRODUCTS : isSmallest || units * cluster <= device.multiprocessors
  if (!isOwn || products > MOST_PRODUCTS || maxQueries > cluster) return undefined
  const tileQueries = maxQueries <= 1 ? 1 : Math.min(cluster, Math.floor((products * COLUMNS) / group))
  const capacity = Math.ceil(Math.ceil(maxKeys / blockSize / cluster) / TILE) * TILE
  // Of many sequences a multiprocessor has two thread blocks, each with one chunk on its way: one chooses while the other loads.
  const isPaired = isSmallest && products === 1 && units * cluster > device.multiprocessors
  const kernel = `select_decode_sm90_d${headDim}_n${products}_c${cluster}${isPaired ? '_paired' : ''}`
  const stages = isPaired ? 1 : Math.min(STAGES, Math.ceil(capacity / CHUNK))
  const sharedBytes = stages * CHUNK * headDim * HALF_BYTES + capacity * tileQueries * group * Float32Array.BYTES_PER_ELEMENT
  if (sharedBytes > WHOLE_MULTIPROCESSOR || !device.hasKernel(kernel)) return undefined
  const isOnlyOne = products === MOST_PRODUCTS || isSmallest
  if (!isOnlyOne && device.clustersAtOnce(kernel, cluster, THREADS, WHOLE_MULTIPROCESSOR) < units) return undefined
  const tiles = tileQueries === 1 ? queryTokens : rowTiles(queryTokens, sequences, tileQueries)
  return { kernel, cluster, tileQueries, tiles, capacity, sharedBytes }
}
