import type { KernelDevice, KernelMemory } from './kernel-host.js'
import { BlockListsParams, type Rules, type Sequences } from './kernel-params.js'
import { type ParamValues, packParams } from './param-layout.js'

/** kListThreads, kThreads, kScanThreads and kRoundRows of selected_lists_sm90.cu. */
const LIST_THREADS = 512
const SUM_THREADS = 128
const SCAN_THREADS = 1024
const ROUND_ROWS = 32
/** Blocks with 12 bytes each in shared memory: two thread blocks of a multiprocessor fit. */
const MOST_RANGE_BLOCKS = 8192
/** Enough chunks to fill the GPU at moderate lengths, and counts of 16 MB; eight at least. */
const LEAST_CHUNK_ROWS = 1024
const MOST_COUNTS = 2 ** 22
const MOST_CHUNKS_WHERE_LARGE = 8

/** What the lists are made from, packed, by address. */
export interface BlockListsCall {
  /** i32 [Hkv, Tq, rules.topK]. */
  readonly selected: bigint
  /** An i32 that is 0 where the lists are not needed after all; 0n: they are. */
  readonly wanted: bigint
  /** Rows of q that have lists of their own; Tq or more: one list a block. */
  readonly sectionRows: number
  readonly sequences: ParamValues<typeof Sequences>
  readonly rules: ParamValues<typeof Rules>
}

/** For each KV head, section of rows and key block of the batch, the choices `row * topK + slot` of it, ascending: selected_lists_sm90.cu. */
export interface BlockLists {
  /** i32 [Hkv, sections, blocks + 1], within the entries of a section; 0n where there is nothing to choose at all. */
  readonly starts: bigint
  /** i32 [Hkv, Tq * topK]; a section's begin at its first row times topK. */
  readonly entries: bigint
}

/** Inverts `selected` and runs what needs the lists, which are valid while it runs. */
export function withBlockLists(device: KernelDevice, memory: KernelMemory, call: BlockListsCall, run: (lists: BlockLists) => void): void {
  const { sequences, rules } = call
  const { queryTokens, blocks } = sequences
  const entries = rules.kvHeads * queryTokens * rules.topK
  if (entries === 0 || blocks === 0) {
    run({ starts: 0n, entries: 0n })
    return
  }
  const sectionRows = Math.min(call.sectionRows, queryTokens)
  const parts = rules.kvHeads * Math.ceil(queryTokens / sectionRows)
  const { chunks, chunkRows } = chunksOf(sectionRows, parts * blocks)
  const starts = parts * (blocks + 1)
  const bytes = (entries + starts + parts * chunks * blocks) * Int32Array.BYTES_PER_ELEMENT
  memory.scratch(bytes, ({ address }) => {
    const at = (element: number) => address + BigInt(element * Int32Array.BYTES_PER_ELEMENT)
    const lists = { entries: address, starts: at(entries) }
    const rangeBlocks = Math.min(MOST_RANGE_BLOCKS, blocks)
    const params = packParams(BlockListsParams, {
      ...call,
      ...lists,
      offsets: at(entries + starts),
      sectionRows,
      chunks,
      chunkRows,
      rangeBlocks,
    })
    const grid = [chunks, Math.ceil(blocks / rangeBlocks), parts] as const
    device.launch({ kernel: 'count_block_lists', grid, block: LIST_THREADS, sharedBytes: 4 * rangeBlocks, params })
    device.launch({ kernel: 'sum_block_lists', grid: [Math.ceil(blocks / SUM_THREADS), parts, 1], block: SUM_THREADS, params })
    device.launch({ kernel: 'scan_block_lists', grid: [parts, 1, 1], block: SCAN_THREADS, params })
    device.launch({ kernel: 'fill_block_lists', grid, block: LIST_THREADS, sharedBytes: 12 * rangeBlocks, params })
    run(lists)
  })
}

/** Chunks that a section's rows are counted in. @param lists of all sections and KV heads */
function chunksOf(sectionRows: number, lists: number): { chunks: number; chunkRows: number } {
  const most = Math.max(MOST_CHUNKS_WHERE_LARGE, Math.floor(MOST_COUNTS / lists))
  const wanted = Math.min(most, Math.ceil(sectionRows / LEAST_CHUNK_ROWS))
  const chunkRows = Math.ceil(sectionRows / wanted / ROUND_ROWS) * ROUND_ROWS
  return { chunks: Math.ceil(sectionRows / chunkRows), chunkRows }
}
