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
const STATIC_BYTES = 20 * 1024
/** Shared memory of a thread block of a Hopper GPU. */
const MOST_SHARED_BYTES = 227 * 1024
/** Chunks on their way at once. */
const STAGES = 2
const HALF_BYTES = 2
/** Thread blocks of a cluster, the most first: as many as leave each a multiprocessor. */
const CLUSTERS = [8, 4, 2]
/** The kernels there are: products that a warp makes of each representative, and clusters. */
const LARGEST_CLUSTER_ONLY = 2

interface DecodeShape {
  readonly kernel: string
  readonly cluster: number
  readonly tileQueries: number
  readonly tiles: number
  readonly capacity: number
  readonly sharedBytes: number
}

/** Queues the choice of blocks for a step of decoding. @returns whether it did: few queries a sequence, and a GPU that has the kernel */
export function selectDecode(device: KernelDevice, spec: AttentionSpec, batch: PagedBatch, call: PagedSelectCall): boolean {
  const shape = decodeShape(device, spec, batch, call)
  if (!shape || shape.sharedBytes > MOST_SHARED_BYTES - STATIC_BYTES || !device.hasKernel(shape.kernel)) return false
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

function decodeShape(
  { multiprocessors }: KernelDevice,
  { heads, kvHeads, headDim, blockSize }: AttentionSpec,
  { maxQueries, maxKeys }: PagedBatch,
  { sequences: { queryTokens, sequences } }: PagedSelectCall,
): DecodeShape | undefined {
  const group = heads / kvHeads
  const products = Math.max(1, Math.ceil((maxQueries * group) / COLUMNS))
  const units = Math.ceil(queryTokens / Math.max(1, maxQueries)) * kvHeads
  const cluster =
    products === LARGEST_CLUSTER_ONLY
      ? CLUSTERS[0]
      : (CLUSTERS.find((blocks) => units * blocks <= multiprocessors) ?? CLUSTERS[CLUSTERS.length - 1])
  if (products > LARGEST_CLUSTER_ONLY || maxQueries > cluster) return undefined
  const tileQueries = maxQueries <= 1 ? 1 : Math.min(cluster, Math.floor((products * COLUMNS) / group))
  const capacity = Math.ceil(Math.ceil(maxKeys / blockSize / cluster) / CHUNK) * CHUNK
  return {
    kernel: `select_decode_sm90_d${headDim}_n${products}_c${cluster}`,
    cluster,
    tileQueries,
    tiles: tileQueries === 1 ? queryTokens : rowTiles(queryTokens, sequences, tileQueries),
    capacity,
    sharedBytes: STAGES * CHUNK * headDim * HALF_BYTES + capacity * tileQueries * group * Float32Array.BYTES_PER_ELEMENT,
  }
}
