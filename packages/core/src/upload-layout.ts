import type { Layout } from './contract/layout.js'
import type { Memory } from './contract/memory.js'
import { ShapeError } from './errors/shape-error.js'
import type { PackedLayout } from './packed-layout.js'

/** Room for layouts that replace each other under a captured step; each at least what the first layout needs. */
export interface LayoutCapacity {
  readonly sequences?: number
  readonly queryTokens?: number
  readonly keyTokens?: number
  readonly blocks?: number
  readonly maxBlocks?: number
  readonly maxQueries?: number
}

/** Uploads a layout; its capacities are exact unless more are asked for. The caller disposes it with `disposeLayout`, or lets a scope do it. */
export function uploadLayout(memory: Pick<Memory, 'upload'>, packed: PackedLayout, capacity: LayoutCapacity = {}): Layout {
  const sequences = capacity.sequences ?? packed.sequences
  const starts = [sequences + 1] as const
  const layout = {
    blockSize: packed.blockSize,
    sequences,
    queryTokens: capacity.queryTokens ?? packed.totalQueries,
    keyTokens: capacity.keyTokens ?? packed.totalTokens,
    blocks: capacity.blocks ?? packed.totalBlocks,
    maxBlocks: capacity.maxBlocks ?? packed.maxBlocks,
    maxQueries: capacity.maxQueries ?? packed.maxQueries,
  }
  assertFits(packed, layout)
  return {
    ...layout,
    queryStarts: memory.upload(extend(packed.queryStarts, sequences + 1), starts),
    keyStarts: memory.upload(extend(packed.keyStarts, sequences + 1), starts),
    blockStarts: memory.upload(extend(packed.blockStarts, sequences + 1), starts),
  }
}

/** Rewrites an uploaded layout in place, within its capacities. */
export function writeLayout(memory: Memory, layout: Layout, packed: PackedLayout): void {
  assertFits(packed, layout)
  memory.write(layout.queryStarts, extend(packed.queryStarts, layout.sequences + 1))
  memory.write(layout.keyStarts, extend(packed.keyStarts, layout.sequences + 1))
  memory.write(layout.blockStarts, extend(packed.blockStarts, layout.sequences + 1))
}

/** Frees the three tensors of an uploaded layout. */
export function disposeLayout(layout: Layout): void {
  layout.queryStarts.dispose()
  layout.keyStarts.dispose()
  layout.blockStarts.dispose()
}

function assertFits(packed: PackedLayout, layout: Required<LayoutCapacity> & { readonly blockSize: number }): void {
  if (packed.blockSize !== layout.blockSize) {
    throw new ShapeError(`the layout has blocks of ${packed.blockSize} tokens, the uploaded one of ${layout.blockSize}; upload a new one.`)
  }
  const needs: [keyof LayoutCapacity, number][] = [
    ['sequences', packed.sequences],
    ['queryTokens', packed.totalQueries],
    ['keyTokens', packed.totalTokens],
    ['blocks', packed.totalBlocks],
    ['maxBlocks', packed.maxBlocks],
    ['maxQueries', packed.maxQueries],
  ]
  for (const [name, need] of needs) {
    if (layout[name] < need)
      throw new ShapeError(`the layout needs ${name} ${need} but has room for ${layout[name]}; upload it with a larger capacity.`)
  }
}

/** Unused sequences start where the last one ends, so they have no rows. */
function extend(starts: Int32Array, length: number): Int32Array {
  const extended = new Int32Array(length).fill(starts[starts.length - 1])
  extended.set(starts)
  return extended
}
