import type { AttentionSpec } from '@phsa/core'
import type { BlockLists } from './block-lists.js'
import type { KernelDevice, KernelMemory } from './kernel-host.js'
import { type Rules, SelectedGradientParams, type Sequences } from './kernel-params.js'
import { type ParamValues, packParams } from './param-layout.js'

/** kBlockWarps, kRowBytes and kRows of selected_gradient_sm90.cu. */
const BLOCK_WARPS = 8
const TILE_ROWS = 16
const ROW_BYTES = 256
/**
 * Blocks of this size are the rows of a warpgroup's product: selected_gradient_wide_sm90.cu. kWideThreads, kRows and kWideBytes of
 * selected_gradient_products.cuh, with what aligning may take.
 */
const WIDE_BLOCK_SIZE = 64
const WIDE_THREADS = 512
const WIDE_ROWS = 64
const WIDE_PIECES = 16
const WIDE_SHARED_BYTES = (2 + 2 * 4) * WIDE_ROWS * ROW_BYTES + 3 * 2 * WIDE_ROWS * WIDE_BLOCK_SIZE * 2 + 4 * 3 * WIDE_ROWS * 4 + 256 + 1024
/** kWarps and kLanes of warp.cuh. */
const SMALL_BLOCK_WARPS = 4
const LANES = 32
/** A piece of a list has at least so many tiles of rows, and a group of warps at least so many pieces' worth of work (WIDE_PIECES a thread block). */
const LEAST_PIECE_TILES = 64
const PIECES_A_GROUP = 8

/** What the gradients through the selected blocks read and write, packed, by address. */
export interface SelectedGradientCall {
  /** bf16 [Tq, Hq, 128]. */
  readonly q: bigint
  /** bf16 [Tk, Hkv, 128]. */
  readonly k: bigint
  readonly v: bigint
  /** f32 [Tq, Hq]. */
  readonly lse: bigint
  /** f32 [Tq, Hq]: sum over D of out * dOut. */
  readonly delta: bigint
  /** bf16 [Tq, Hq, 128]. */
  readonly dOut: bigint
  /** bf16 [Tk, Hkv, 128]: all rows of the slab's KV heads are written by its last slab of rows. */
  readonly dk: bigint
  readonly dv: bigint
  /** f32 [Tk, Hkv, 128]: the forced part, overwritten where lists or slabs are added up in several steps. */
  readonly dkForced: bigint
  readonly dvForced: bigint
  readonly sequences: ParamValues<typeof Sequences>
  readonly rules: ParamValues<typeof Rules>
  /** Of all rows. */
  readonly lists: BlockLists
}

/** Rows and KV heads that are worked on at a time. Slabs of the same KV heads come in the order of their rows. */
export interface GradientSlab {
  readonly firstRow: number
  readonly rows: number
  readonly firstKvHead: number
  readonly kvHeads: number
  /** bf16 [kvHeads, rows, topK, G, 128]: the part of dq from each choice; undefined where nothing is chosen. */
  readonly dqPartial: bigint
  /** Whether no rows follow for these KV heads. */
  readonly last: boolean
}

/** Whether there are kernels for the gradients through the selected blocks of this spec. */
export function hasSelectedGradient(device: KernelDevice, { dtype, headDim, blockSize, heads, kvHeads }: AttentionSpec): boolean {
  const divides = Number.isInteger(Math.log2(heads / kvHeads)) && heads / kvHeads <= TILE_ROWS
  return dtype === 'bf16' && headDim === 128 && divides && device.hasKernel(gradientKernel(blockSize).name)
}

/** Queues what the selected blocks of a slab give to dk, dv and dq (spec 5). For specs that `hasSelectedGradient` accepts. */
export function selectedGradient(device: KernelDevice, memory: KernelMemory, call: SelectedGradientCall, slab: GradientSlab): void {
  const { sequences, rules, lists, dkForced, dvForced, ...addresses } = call
  const listCount = slab.kvHeads * sequences.blocks
  if (sequences.keyTokens === 0) return
  const slices = rules.blockSize / 16
  const entries = slab.kvHeads * slab.rows * rules.topK
  const kernel = gradientKernel(rules.blockSize)
  const tileEntries = (kernel.rows * rules.kvHeads) / rules.heads
  const pieceEntries = Math.max(LEAST_PIECE_TILES * tileEntries, Math.ceil(entries / (device.multiprocessors * kernel.pieces)))
  const headPieces = Math.floor((slab.rows * rules.topK) / pieceEntries)
  const pieces = slab.kvHeads * headPieces
  const partialBytes = pieces * rules.blockSize * 2 * 128 * Float32Array.BYTES_PER_ELEMENT
  const counters = memory.alloc([1 + slab.kvHeads], 'i32')
  memory.scratch(partialBytes + 16 * listCount + 8 * pieces + 16, ({ address: partials }) => {
    const listTable = partials + BigInt(partialBytes)
    const params = packParams(SelectedGradientParams, {
      ...addresses,
      ...lists,
      dkSums: dkForced,
      dvSums: dvForced,
      dqPartial: slab.dqPartial,
      counters: memory.address(counters),
      lists: listTable,
      pieces: listTable + BigInt(16 * listCount),
      partials,
      sequences,
      rules,
      firstRow: slab.firstRow,
      rows: slab.rows,
      firstKvHead: slab.firstKvHead,
      kvHeads: slab.kvHeads,
      last: slab.last ? 1 : 0,
      pieceEntries,
      headPieces,
      reserved: 0,
    })
    const block = SMALL_BLOCK_WARPS * LANES
    device.launch({ kernel: 'selected_gradient_cut', grid: [Math.ceil(listCount / block), 1, 1], block, params })
    device.launch({
      kernel: kernel.name,
      grid: [device.multiprocessors, 1, 1],
      block: kernel.threads,
      sharedBytes: kernel.sharedBytes,
      params,
    })
    const finishGrid = Math.max(1, Math.ceil((listCount * slices) / SMALL_BLOCK_WARPS))
    device.launch({ kernel: 'selected_gradient_finish', grid: [finishGrid, 1, 1], block, params })
  })
  counters.dispose()
}

/** The kernel for blocks of this size, rows that it takes at a time, and pieces' worth of work that a thread block has at least. */
function gradientKernel(blockSize: number) {
  const name = `selected_gradient_m${blockSize}`
  if (blockSize === WIDE_BLOCK_SIZE)
    return { name, threads: WIDE_THREADS, rows: WIDE_ROWS, pieces: WIDE_PIECES, sharedBytes: WIDE_SHARED_BYTES }
  const groups = (BLOCK_WARPS * 16) / blockSize
  return {
    name,
    threads: BLOCK_WARPS * LANES,
    rows: TILE_ROWS,
    pieces: groups * PIECES_A_GROUP,
    sharedBytes: groups * groupBytes(blockSize),
  }
}

/** kBytes of BlockShared in selected_gradient_sm90.cu, of one group. */
function groupBytes(blockSize: number): number {
  const alone = blockSize === 16
  const stages = blockSize === 32 ? 4 : 3
  const ring = stages * 2 * TILE_ROWS * (ROW_BYTES + 4)
  const exchange = alone ? 0 : blockSize * TILE_ROWS * 2 + 16
  return ring + blockSize * ROW_BYTES + exchange
}
