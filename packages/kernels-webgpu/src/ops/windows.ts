import type { BufferSlice } from '../device/kernel-launch.js'

/** Rows that one launch sees of a tensor which may be larger than a binding. */
export interface Window {
  readonly first: number
  readonly count: number
}

/** So many rows of any width begin where a binding may. */
const ROWS_STEP = 256

/**
 * Shares out rows to launches whose bindings hold them; no rows are no windows.
 * @param mostBytes of a binding: `maxStorageBufferBindingSize`
 */
export function windowsOf(rows: number, bytesPerRow: number, mostBytes: number): Window[] {
  const most = rows * bytesPerRow <= mostBytes ? rows : Math.floor(mostBytes / bytesPerRow / ROWS_STEP) * ROWS_STEP
  // Too wide for ROWS_STEP of them: a window of everything, which the launch refuses by its size.
  const each = Math.max(1, most === 0 ? rows : most)
  return Array.from({ length: Math.ceil(rows / each) }, (_, index) => ({
    first: index * each,
    count: Math.min(each, rows - index * each),
  }))
}

/** A window's part of a tensor. */
export function windowSlice({ storage, offset }: BufferSlice, { first, count }: Window, bytesPerRow: number): BufferSlice {
  return { storage, offset: offset + first * bytesPerRow, bytes: Math.max(4, Math.ceil((count * bytesPerRow) / 4) * 4) }
}
