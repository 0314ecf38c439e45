import type { AttentionSpec } from '@phsa/core'
import { attendSelected } from './attend-selected.js'
import { kernelName } from './call-params.js'
import type { KernelDevice, KernelMemory } from './kernel-host.js'
import { type AttendParams, AttendTilesParams } from './kernel-params.js'
import { type ParamValues, packParams } from './param-layout.js'
import { withinMemory } from './within-memory.js'

/** Of attend_tiles.cuh and attend_loader.cuh: rows of a tile, keys of a unit, units of a step, stages, threads, shared memory besides tiles at most. */
const ROWS = 128
const UNIT = 16
const STEP_UNITS = 8
const STAGES = 3
const LIST_THREADS = 128
const THREADS = 384
const TILE_BYTES = 32 * 1024
const SHARED_BYTES = TILE_BYTES * (1 + 2 * STAGES) + 2048
/** Dynamic shared memory of a thread block at most; 227 KB in all, of which kernels have some of their own. */
const MOST_SHARED_BYTES = 226 * 1024
const BLOCK_SIZES = [16, 32, 64]
const GROUPS = [1, 2, 4, 8, 16]
/** Lists that are kept at once, bytes; longer inputs are worked in parts. The smaller ones where memory is short. */
const MOST_LIST_BYTES = 2 ** 28
const SHORT_LIST_BYTES = 2 ** 25
/** Partial results of attendSelected at once, bytes; 0: tiles do everything. */
const PARTIAL_BYTES = [2 ** 29, 2 ** 27, 0]
const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT
/** Items that are looked at for how much their queries' choices overlap. */
const SAMPLES = 256
/**
 * Units of a union for each 128 (query head, choice) pairs from which on a choice costs more in the union than by itself: measured on an H200,
 * where a unit of a tile takes 1.4 ns of the GPU and the pairs 37 ns.
 */
const UNITS_LIMIT = 26
/** Fewer rows are not worth looking at. */
const LEAST_ROWS_LOOKED_AT = 4096
/** Words in front of the lists: the counter, the flag, and from 16 on what the looks found. */
const HEADER_WORDS = 16 + SAMPLES

/** Whether attend_sm90.cu takes this call: a packed layout, bf16, headDim 128, blocks of 16 to 64 tokens, and a GPU that has it. */
export function hasAttendTiles(device: KernelDevice, spec: AttentionSpec, { sequences }: ParamValues<typeof AttendParams>): boolean {
  const group = spec.heads / spec.kvHeads
  return (
    spec.dtype === 'bf16' &&
    spec.headDim === 128 &&
    sequences.keyStarts !== 0n &&
    BLOCK_SIZES.includes(spec.blockSize) &&
    GROUPS.includes(group) &&
    listShape(spec, sequences.blocks).sharedBytes <= MOST_SHARED_BYTES &&
    device.hasKernel(tilesKernel(spec))
  )
}

/**
 * Attention by tiles of neighbouring queries: the lists of what they see, then the products. Where neighbours select different blocks the tiles
 * do the forced blocks only, and attendSelected the rest: the device decides.
 * @throws OutOfMemoryError where not even short lists have room
 */
export function attendTiles(device: KernelDevice, memory: KernelMemory, spec: AttentionSpec, call: ParamValues<typeof AttendParams>): void {
  withinMemory(PARTIAL_BYTES, (partialBytes) => queueTiles(device, memory, spec, call, partialBytes))
}

function queueTiles(
  device: KernelDevice,
  memory: KernelMemory,
  spec: AttentionSpec,
  call: ParamValues<typeof AttendParams>,
  partialBytes: number,
): void {
  const { sequences } = call
  const { queries, words, listBlocks, capacity, sharedBytes } = listShape(spec, sequences.blocks)
  // attendTile of attend_tiles.cuh: dense queries have tiles of their own.
  const tiles = Math.floor(sequences.queryTokens / queries) + 2 * sequences.sequences + 1
  const itemWords = capacity * (1 + words) + 1
  const listBytes = partialBytes > 0 ? MOST_LIST_BYTES : SHORT_LIST_BYTES
  const atOnce = Math.min(tiles, Math.max(1, Math.floor(listBytes / (WORD_BYTES * itemWords * spec.kvHeads))))
  const items = atOnce * spec.kvHeads
  const looks = partialBytes > 0 && spec.topK > 0 && sequences.queryTokens >= LEAST_ROWS_LOOKED_AT && device.hasKernel(selectedKernel(spec))
  memory.scratch(WORD_BYTES * (HEADER_WORDS + items * itemWords), ({ address }) => {
    const at = (word: number) => address + BigInt(WORD_BYTES * word)
    const wanted = at(1)
    const paramsOf = (firstTile: number, count: number) =>
      packParams(AttendTilesParams, {
        ...call,
        units: at(HEADER_WORDS),
        masks: at(HEADER_WORDS + items * capacity),
        counts: at(HEADER_WORDS + items * capacity * (1 + words)),
        next: at(0),
        excess: looks ? at(16) : 0n,
        wanted,
        firstTile,
        tiles: count,
        capacity,
        words,
        listBlocks,
        samples: SAMPLES,
        unitsLimit: UNITS_LIMIT,
      })
    const lists = { block: LIST_THREADS, sharedBytes }
    if (looks) device.launch({ kernel: 'attend_overlap_sm90', grid: [SAMPLES, 1, 1], ...lists, params: paramsOf(0, tiles) })
    for (let first = 0; first < tiles; first += atOnce) {
      const count = Math.min(atOnce, tiles - first)
      const params = paramsOf(first, count)
      device.launch({ kernel: 'attend_lists_sm90', grid: [count, spec.kvHeads, 1], ...lists, params })
      const blocks = Math.min(device.multiprocessors, count * spec.kvHeads)
      device.launch({ kernel: tilesKernel(spec), grid: [blocks, 1, 1], block: THREADS, sharedBytes: SHARED_BYTES, params })
    }
    if (looks) attendSelected(device, memory, spec, { ...call, flag: wanted }, partialBytes)
  })
}

function tilesKernel({ heads, kvHeads }: AttentionSpec): string {
  return `attend_tiles_sm90_g${heads / kvHeads}`
}

function selectedKernel(spec: AttentionSpec): string {
  return `${kernelName('attend_selected', spec)}_m${spec.blockSize}`
}

/** Queries of a tile, words of a mask, blocks and units of a list at most, and what making a list takes. */
function listShape({ heads, kvHeads, blockSize, topK }: AttentionSpec, blocks: number) {
  const queries = (ROWS * kvHeads) / heads
  const words = Math.max(1, (4 * kvHeads) / heads)
  // Selected blocks, and the forced ones that not all queries of a tile see.
  const listBlocks = Math.min(queries * topK + Math.floor((queries - 1) / blockSize) + 2, blocks)
  // Up to a step less one unit of the first tokens, and of the windows' common part.
  const units = (listBlocks * blockSize) / UNIT + 2 * STEP_UNITS
  const capacity = Math.ceil(units / STEP_UNITS) * STEP_UNITS
  return { queries, words, listBlocks, capacity, sharedBytes: WORD_BYTES * (2 * Math.ceil(blocks / 32) + listBlocks * (1 + words)) }
}
