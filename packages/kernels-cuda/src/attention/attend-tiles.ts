import type { AttentionSpec } from '@phsa/core'
import { attendSelected, type PartialResults, selectedSlabs } from './attend-selected.js'
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
const SHARED_BYTES = TILE_BYTES * (1 + 2 * STAGES) + 3072
/** Dynamic shared memory of a thread block at most; 227 KB in all, of which kernels have some of their own. */
const MOST_SHARED_BYTES = 226 * 1024
const BLOCK_SIZES = [16, 32, 64]
const GROUPS = [1, 2, 4, 8, 16]
/** Lists that are kept at once, bytes; longer inputs are worked in parts. The smaller ones where memory is short. */
const MOST_LIST_BYTES = 2 ** 28
const SHORT_LIST_BYTES = 2 ** 25
/** Partial results of attendSelected at once, bytes; 0: tiles do everything. The first takes all of 16/8 heads, topK 16, 32,768 tokens. */
const PARTIAL_BYTES = [9 * 2 ** 28, 2 ** 29, 2 ** 27, 0]
const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT
/** Items that are looked at for how much their queries' choices overlap. */
const SAMPLES = 256
/**
 * Units of a union that cost as much as 128 (query head, choice) pairs cost in attendSelected: measured on an H200, where a unit of a tile takes
 * 1.4 ns of the GPU and the pairs 20 to 35 ns.
 */
const UNITS_LIMIT = 18
/** Units for each tile that lists and launches of attendSelected cost however few the choices are, with a margin. */
const PASS_UNITS = 32
/** Fewer rows are not worth looking at: with 4,096 of a prompt over 32,768 keys it cost a model 0.04 ms a layer more than it saved. */
const LEAST_ROWS_LOOKED_AT = 8192
/** Words in front of the lists: the flag, from 16 on what the looks found, then a counter for each KV head. */
const HEADER_WORDS = 16 + SAMPLES
/** Lists are read by so many words at a time, which must be aligned. */
const COPY_WORDS = 4

/** Attention by address, packed or paged. */
export type AttendTilesCall = ParamValues<typeof AttendParams> & {
  /** At least the most blocks that one sequence has. */
  readonly maxBlocks: number
}

/** Whether attend_sm90.cu has the case: bf16, headDim 128, blocks of 16 to 64 tokens, and a GPU that has it. @param maxBlocks of one sequence */
export function hasAttendTiles(device: KernelDevice, spec: AttentionSpec, maxBlocks: number): boolean {
  const group = spec.heads / spec.kvHeads
  return (
    spec.dtype === 'bf16' &&
    spec.headDim === 128 &&
    BLOCK_SIZES.includes(spec.blockSize) &&
    GROUPS.includes(group) &&
    listShape(spec, maxBlocks).sharedBytes <= MOST_SHARED_BYTES &&
    device.hasKernel(tilesKernel(spec))
  )
}

/** Whether `attendTiles` looks at how much the choices of neighbouring queries overlap, and may leave some to attendSelected, which numbers blocks. */
export function looksAtChoices(device: KernelDevice, spec: AttentionSpec, queryTokens: number): boolean {
  return spec.topK > 0 && queryTokens >= LEAST_ROWS_LOOKED_AT && device.hasKernel(selectedKernel(spec))
}

/**
 * Attention by tiles of neighbouring queries: the lists of what they see, then the products. Blocks that few queries of a tile selected are left
 * to attendSelected where that saves time: the device decides.
 * @param call paged: blocks numbered by `sequences.blockStarts` where `looksAtChoices`
 * @throws OutOfMemoryError where not even short lists have room
 */
export function attendTiles(device: KernelDevice, memory: KernelMemory, spec: AttentionSpec, call: AttendTilesCall): void {
  withinMemory(PARTIAL_BYTES, (partialBytes) => queueTiles(device, memory, spec, call, partialBytes))
}

function queueTiles(device: KernelDevice, memory: KernelMemory, spec: AttentionSpec, call: AttendTilesCall, partialBytes: number): void {
  const { sequences } = call
  const { queries, words, listBlocks, capacity, sharedBytes } = listShape(spec, call.maxBlocks)
  // attendTile of attend_tiles.cuh: dense queries have tiles of their own.
  const tiles = Math.floor(sequences.queryTokens / queries) + 2 * sequences.sequences + 1
  const itemWords = capacity * (1 + words) + 1
  const listBytes = partialBytes > 0 ? MOST_LIST_BYTES : SHORT_LIST_BYTES
  const atOnce = Math.min(tiles, Math.max(1, Math.floor(listBytes / (WORD_BYTES * itemWords * spec.kvHeads))))
  const items = atOnce * spec.kvHeads
  const looks = partialBytes > 0 && looksAtChoices(device, spec, sequences.queryTokens)
  // Tiles add what attendSelected found where it has all of a KV head at once; otherwise they run before it, and it merges.
  const joins = looks && atOnce === tiles && selectedSlabs(spec, sequences.queryTokens, partialBytes).sections === 1
  const unitsAt = Math.ceil((HEADER_WORDS + spec.kvHeads) / COPY_WORDS) * COPY_WORDS
  const leftAt = unitsAt + items * itemWords
  const leftRows = looks ? spec.kvHeads * sequences.queryTokens : 0
  memory.scratch(WORD_BYTES * (leftAt + leftRows * (1 + spec.topK)), ({ address }) => {
    const at = (word: number) => address + BigInt(WORD_BYTES * word)
    const wanted = at(0)
    const left = at(leftAt)
    const none = { partials: 0n, partialLse: 0n, firstHead: 0, heads: spec.kvHeads }
    const paramsOf = (firstTile: number, count: number, results: PartialResults = none) =>
      packParams(AttendTilesParams, {
        ...call,
        ...results,
        units: at(unitsAt),
        masks: at(unitsAt + items * capacity),
        counts: at(unitsAt + items * capacity * (1 + words)),
        next: at(HEADER_WORDS),
        excess: looks ? at(16) : 0n,
        wanted,
        left,
        leftCounts: at(leftAt + leftRows * spec.topK),
        firstTile,
        tiles: count,
        capacity,
        words,
        listBlocks,
        samples: SAMPLES,
        unitsLimit: UNITS_LIMIT,
        passUnits: PASS_UNITS,
      })
    const lists = { block: LIST_THREADS, sharedBytes }
    const launchTiles = (first: number, count: number, results: PartialResults = none) => {
      const blocks = Math.min(device.multiprocessors, count * results.heads)
      const params = paramsOf(first, count, results)
      device.launch({ kernel: tilesKernel(spec), grid: [blocks, 1, 1], block: THREADS, sharedBytes: SHARED_BYTES, params })
    }
    if (looks) device.launch({ kernel: 'attend_overlap_sm90', grid: [SAMPLES, 1, 1], ...lists, params: paramsOf(0, tiles) })
    for (let first = 0; first < tiles; first += atOnce) {
      const count = Math.min(atOnce, tiles - first)
      device.launch({ kernel: 'attend_lists_sm90', grid: [count, spec.kvHeads, 1], ...lists, params: paramsOf(first, count) })
      if (!joins) launchTiles(first, count)
    }
    if (!looks) return
    const join = joins ? (results: PartialResults) => launchTiles(0, tiles, results) : undefined
    attendSelected(device, memory, spec, { ...call, selected: left, flag: wanted }, partialBytes, join)
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
