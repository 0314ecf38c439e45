import type { Binding, BufferSlice } from './kernel-launch.js'

/** A buffer that a kernel reads. */
export function read({ storage, offset, bytes }: BufferSlice): Binding {
  return { storage, offset, bytes, access: 'read' }
}

/** A buffer that a kernel writes, and may read. */
export function write({ storage, offset, bytes }: BufferSlice): Binding {
  return { storage, offset, bytes, access: 'write' }
}
