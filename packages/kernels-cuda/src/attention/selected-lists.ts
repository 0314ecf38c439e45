import type { AttentionSpec, Layout, Tensor } from '@phsa/core'
import { packedSequences, rulesOf } from './call-params.js'
import type { KernelDevice, KernelMemory } from './kernel-host.js'
import { SelectedListsParams } from './kernel-params.js'
import { packParams } from './param-layout.js'

/** Rows are walked one after the other within a chunk: fewer rows are faster, more chunks take more memory. */
const LEAST_CHUNK_ROWS = 64
const MOST_CHUNKS = 64
const WARP_THREADS = 32
/** kScanThreads of selected_lists.cu. */
const SCAN_THREADS = 1024

/** For each key block of a KV head, the query rows that selected it, on the device. Valid while `withSelectedLists` runs. */
export interface SelectedLists {
  /** i32 [Hkv, blocks, chunks]: where each list ends within its KV head; 0n where nothing is selected at all. */
  readonly cursors: bigint
  /** i32 [Hkv, Tq * topK]. */
  readonly rows: bigint
  readonly chunks: number
}

/** Inverts `selected` and runs what needs the lists. */
export function withSelectedLists(
  device: KernelDevice,
  memory: KernelMemory,
  selected: Tensor,
  layout: Layout,
  spec: AttentionSpec,
  run: (lists: SelectedLists) => void,
): void {
  const entries = spec.kvHeads * layout.queryTokens * spec.topK
  if (entries === 0 || layout.blocks === 0) {
    run({ cursors: 0n, rows: 0n, chunks: 0 })
    return
  }
  const chunks = Math.min(MOST_CHUNKS, Math.ceil(layout.queryTokens / LEAST_CHUNK_ROWS))
  const cursors = memory.alloc([spec.kvHeads, layout.blocks, chunks], 'i32')
  memory.scratch(entries * Int32Array.BYTES_PER_ELEMENT, ({ address: rows }) => {
    const lists = { cursors: memory.address(cursors), rows, chunks }
    const params = packParams(SelectedListsParams, {
      selected: memory.address(selected),
      ...lists,
      sequences: packedSequences(memory, layout),
      rules: rulesOf(spec),
      chunkRows: Math.ceil(layout.queryTokens / chunks),
    })
    device.launch({ kernel: 'count_selected', grid: [chunks, spec.kvHeads, 1], block: WARP_THREADS, params })
    device.launch({ kernel: 'scan_selected', grid: [spec.kvHeads, 1, 1], block: SCAN_THREADS, params })
    device.launch({ kernel: 'fill_selected', grid: [chunks, spec.kvHeads, 1], block: WARP_THREADS, params })
    run(lists)
  })
  cursors.dispose()
}
