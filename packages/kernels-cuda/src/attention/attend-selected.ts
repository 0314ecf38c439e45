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
/**
 * Of a launch, for each multiprocessor: many times what it holds at once, so that unequal shares even out and KV heads are worked on one after the
 * other, each with its queries in L2.
 */
const ATTEND_THREADS_EACH = 4096
const MERGE_BLOCKS_EACH = 8
/** Of a section; choices are what its Divider takes. */
const MOST_SECTION_ROWS = 2 ** 18
const MOST_SECTION_CHOICES = 2 ** 22

/** What the selected part reads and writes, packed, by address. */
export interface AttendSelectedCall {
  /** bf16 [Tq, Hq, D]. */
  readonly q: bigint
  /** bf16 [Tk, Hkv, D]. */
  readonly k: bigint
  readonly v: bigint
  /** i32 [Hkv, Tq, rules.topK]: what is left to do, in front of each row, then -1. */
  readonly selected: bigint
  /** bf16 [Tq, Hq, D]: the rest, then all; not touched where results are joined. */
  readonly out: bigint
  /** f32 [Tq, Hq]: likewise. */
  readonly lse: bigint
  /** An i32 that is 0 where nothing is left. */
  readonly flag: bigint
  readonly sequences: ParamValues<typeof Sequences>
  readonly rules: ParamValues<typeof Rules>
}

/** Partial results of some KV heads, all of their rows: [heads, Tq, topK, G, D] and, binary logarithms, [heads, Tq, topK, G]. */
export interface PartialResults {
  readonly partials: bigint
  readonly partialLse: bigint
  readonly firstHead: number
  readonly heads: number
}

/** How the work is cut, so that a slab's partial results take at most `most` bytes: rows of a section, KV heads of a slab. */
export function selectedSlabs({ heads, kvHeads, headDim, topK }: AttentionSpec, queryTokens: number, most: number) {
  const rowBytes = topK * (heads / kvHeads) * (2 * headDim + Float32Array.BYTES_PER_ELEMENT)
  const mostRows = Math.min(MOST_SECTION_ROWS, Math.floor(MOST_SECTION_CHOICES / topK), Math.floor(most / rowBytes))
  const sections = Math.ceil(queryTokens / mostRows)
  const sectionRows = Math.ceil(queryTokens / sections)
  const mostHeads = Math.min(kvHeads, Math.floor(most / (sectionRows * rowBytes)))
  const slabHeads = Math.ceil(kvHeads / Math.ceil(kvHeads / mostHeads))
  return { sections, sectionRows, slabHeads, bytes: slabHeads * sectionRows * rowBytes }
}

/**
 * Queues attention over these choices, where the flag asks for it (spec 5). bf16, D 128, m 16 to 64.
 * @param most bytes of a slab's partial results, at least those of one row; lists come on top
 * @param join adds a slab's results to the rest, where there is one section; without it they are merged into `out` and `lse`, which have the rest
 */
export function attendSelected(
  device: KernelDevice,
  memory: KernelMemory,
  spec: AttentionSpec,
  call: AttendSelectedCall,
  most: number,
  join?: (results: PartialResults) => void,
): void {
  const { sequences, rules, flag, ...addresses } = call
  const { kvHeads, topK, blockSize } = rules
  if (sequences.queryTokens === 0 || sequences.blocks === 0 || topK === 0) return
  const { sections, sectionRows, slabHeads, bytes } = selectedSlabs(spec, sequences.queryTokens, most)
  const block = ATTEND_THREADS[blockSize]
  const attendGrid = (device.multiprocessors * ATTEND_THREADS_EACH) / block
  const mergeGrid = device.multiprocessors * MERGE_BLOCKS_EACH
  withBlockLists(device, memory, { selected: call.selected, wanted: flag, sectionRows, sequences, rules }, (lists) => {
    memory.scratch(bytes, ({ address: partials }) => {
      const partialLse = partials + BigInt((bytes / (2 * spec.headDim + 4)) * 2 * spec.headDim)
      for (let section = 0; section < sections; section++) {
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
          if (join) {
            join({ partials, partialLse, firstHead, heads })
          } else {
            const merge = kernelName('merge_selected', spec)
            device.launch({ kernel: merge, grid: [Math.ceil(mergeGrid / heads), heads, 1], block: MERGE_THREADS, params })
          }
        }
      }
    })
  })
}
