import type { AttentionSpec } from '@phsa/core'
import { withBlockLists } from './block-lists.js'
import { kernelName } from './call-params.js'
import type { KernelDevice, KernelMemory } from './kernel-host.js'
import { AttendSelectedParams, type Rules, type Sequences } from './kernel-params.js'
import { type ParamValues, packParams } from './param-layout.js'

/** kMergeThreads of attend_selected_sm90.cu. */
const MERGE_THREADS = 256
/** Threads that share a block of keys: INSTANCE of attend_selected_sm90.cu. */
const ATTEND_THREADS: Readonly<Record<number, number>> = { 16: 32, 32: 64, 64: 128 }
/** Of a launch, for each multiprocessor: twice what it holds at once of the first, so that unequal shares even out. */
const ATTEND_THREADS_EACH = 1024
const MERGE_BLOCKS_EACH = 8
const MOST_SECTION_ROWS = 2 ** 15

/** What the selected part reads and writes, packed, by address. */
export interface AttendSelectedCall {
  /** bf16 [Tq, Hq, D]. */
  readonly q: bigint
  /** bf16 [Tk, Hkv, D]. */
  readonly k: bigint
  readonly v: bigint
  /** i32 [Hkv, Tq, rules.topK]. */
  readonly selected: bigint
  /** bf16 [Tq, Hq, D]: the forced part, then all. */
  readonly out: bigint
  /** f32 [Tq, Hq]: likewise. */
  readonly lse: bigint
  /** An i32 that is 0 where `out` and `lse` are already whole. */
  readonly flag: bigint
  readonly sequences: ParamValues<typeof Sequences>
  readonly rules: ParamValues<typeof Rules>
}

/**
 * Queues attention over the selected blocks and its merge with the forced part, where the flag asks for it (spec 5). bf16, D 128, m 16 to 64.
 * @param most bytes of a slab's partial results, at least those of one row; lists come on top
 */
export function attendSelected(
  device: KernelDevice,
  memory: KernelMemory,
  spec: AttentionSpec,
  call: AttendSelectedCall,
  most: number,
): void {
  const { sequences, rules, flag, ...addresses } = call
  const { kvHeads, topK, blockSize } = rules
  if (sequences.queryTokens === 0 || sequences.blocks === 0 || topK === 0) return
  const rowBytes = topK * (rules.heads / kvHeads) * (2 * spec.headDim + Float32Array.BYTES_PER_ELEMENT)
  const mostRows = Math.min(MOST_SECTION_ROWS, Math.floor(most / rowBytes))
  const sectionRows = Math.ceil(sequences.queryTokens / Math.ceil(sequences.queryTokens / mostRows))
  const slabHeads = Math.min(kvHeads, Math.floor(most / (sectionRows * rowBytes)))
  const slab = slabHeads * sectionRows * rowBytes
  const block = ATTEND_THREADS[blockSize]
  const attendGrid = (device.multiprocessors * ATTEND_THREADS_EACH) / block
  const mergeGrid = device.multiprocessors * MERGE_BLOCKS_EACH
  withBlockLists(device, memory, { selected: call.selected, wanted: flag, sectionRows, sequences, rules }, (lists) => {
    memory.scratch(slab, ({ address: partials }) => {
      const partialLse = partials + BigInt((slab / (2 * spec.headDim + 4)) * 2 * spec.headDim)
      for (let section = 0; section * sectionRows < sequences.queryTokens; section++) {
        for (let firstHead = 0; firstHead < kvHeads; firstHead += slabHeads) {
          const heads = Math.min(slabHeads, kvHeads - firstHead)
          const params = packParams(AttendSelectedParams, {
            ...addresses,
            ...lists,
            wanted: flag,
            partials,
            partialLse,
            sequences,
            rules,
            section,
            sectionRows,
            firstHead,
            slabHeads: heads,
          })
          const kernel = `${kernelName('attend_selected', spec)}_m${blockSize}`
          device.launch({ kernel, grid: [Math.ceil(attendGrid / heads), heads, 1], block, params })
          const merge = kernelName('merge_selected', spec)
          device.launch({ kernel: merge, grid: [Math.ceil(mergeGrid / heads), heads, 1], block: MERGE_THREADS, params })
        }
      }
    })
  })
}
