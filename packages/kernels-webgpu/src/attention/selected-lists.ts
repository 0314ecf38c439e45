import type { AttentionSpec, Layout } from '@phsa/core'
import countSource from '../../kernels/count_selected.wgsl?raw'
import fillSource from '../../kernels/fill_selected.wgsl?raw'
import gridSource from '../../kernels/grid.wgsl?raw'
import scanSource from '../../kernels/scan_counts.wgsl?raw'
import listsSource from '../../kernels/selected_lists.wgsl?raw'
import sequencesSource from '../../kernels/sequences.wgsl?raw'
import { read, write } from '../device/bindings.js'
import { gridOf } from '../device/grid.js'
import type { BufferSlice } from '../device/kernel-launch.js'
import { packParams } from '../device/param-layout.js'
import type { AttentionHost } from './attention-host.js'
import { packedSequences, Rules, rulesOf, Sequences } from './call-params.js'

/** `Params` of selected_lists.wgsl. */
export const SelectedListsParams = { sequences: Sequences, rules: Rules, chunks: 'u32', chunkRows: 'u32' } as const
/** `Params` of scan_counts.wgsl. */
export const ScanParams = { count: 'u32' } as const

/** Rows are taken in turn within a chunk: fewer rows are faster, more chunks take more memory. */
const LEAST_CHUNK_ROWS = 64
const MOST_CHUNKS = 64
/** Threads of count_selected.wgsl. */
const THREADS = 256

const SHARED = [
  { file: 'grid.wgsl', source: gridSource },
  { file: 'sequences.wgsl', source: sequencesSource },
  { file: 'selected_lists.wgsl', source: listsSource },
]
const COUNT = { name: 'count_selected', parts: [...SHARED, { file: 'count_selected.wgsl', source: countSource }] }
const FILL = { name: 'fill_selected', parts: [...SHARED, { file: 'fill_selected.wgsl', source: fillSource }] }
const SCAN = { name: 'scan_counts', parts: [{ file: 'scan_counts.wgsl', source: scanSource }] }

/** Numbers of the lists: for each key block of a KV head, the query rows that selected it, ascending. */
export interface SelectedListCounts {
  /** Parts that the rows are cut into: the ends of the lists are u32 [Hkv, blocks, chunks], that of a list stands at its last chunk. */
  readonly chunks: number
  readonly ends: number
  /** Entries of the lists: u32 [Hkv, Tq * topK]. */
  readonly entries: number
}

/** How much room the lists of `selected` take. */
export function selectedListCounts(spec: AttentionSpec, layout: Layout): SelectedListCounts {
  const chunks = Math.max(1, Math.min(MOST_CHUNKS, Math.ceil(layout.queryTokens / LEAST_CHUNK_ROWS)))
  return { chunks, ends: spec.kvHeads * layout.blocks * chunks, entries: spec.kvHeads * layout.queryTokens * spec.topK }
}

/** Queues the inversion of `selected` into memory of `selectedListCounts`. */
export function invertSelected(
  { device, numbers }: AttentionHost,
  spec: AttentionSpec,
  layout: Layout,
  { selected, ends, lists }: { readonly selected: BufferSlice; readonly ends: BufferSlice; readonly lists: BufferSlice },
): void {
  const { chunks } = selectedListCounts(spec, layout)
  const call = {
    element: 'f32',
    constants: {},
    params: packParams(SelectedListsParams, {
      sequences: packedSequences(layout),
      rules: rulesOf(spec),
      chunks,
      chunkRows: Math.ceil(layout.queryTokens / chunks),
    }),
  } as const
  const shared = [read(numbers.ofLayout(layout)), read(selected), write(ends)]
  device.clear(ends)
  device.launch({
    ...call,
    kernel: COUNT,
    bindings: shared,
    grid: gridOf(Math.ceil((layout.queryTokens * spec.topK) / THREADS), spec.kvHeads),
  })
  device.launch({
    kernel: SCAN,
    element: 'f32',
    constants: {},
    bindings: [write(ends)],
    params: packParams(ScanParams, { count: layout.blocks * chunks }),
    grid: [spec.kvHeads, 1, 1],
  })
  device.launch({ ...call, kernel: FILL, bindings: [...shared, write(lists)], grid: [chunks, spec.kvHeads, 1] })
}
