/** Threads of the blocks that give each of their 4 warps work of its own: kThreads and kWarps of warp.cuh. */
export const THREADS = 128
export const WARPS = 4

/** Extents of a grid at most, but for the first. */
export const MOST_EXTENT = 65535

/** Thread blocks for so many warps. */
export function blocksOfWarps(warps: number): number {
  return Math.ceil(warps / WARPS)
}

/** Tiles of `size` rows that cover each sequence by itself, and the rows behind the last: rowTile of sequences.cuh. */
export function rowTiles(rows: number, sequences: number, size: number): number {
  return Math.floor(rows / size) + sequences + 1
}
