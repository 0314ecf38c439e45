import type { CachingAllocator } from './caching-allocator.js'
import { type Allocation, FreeLists } from './free-lists.js'
import { sizeClass } from './size-class.js'

/**
 * Memory of one recorded step, whose kernels have its addresses for good: it is used again inside of the step, and by nobody else until the
 * recording is gone.
 */
export class GraphPool {
  readonly #source: CachingAllocator
  readonly #free = new FreeLists()
  #closed = false

  constructor(source: CachingAllocator) {
    this.#source = source
  }

  /** As `CachingAllocator.take`. */
  take(bytes: number): Allocation | undefined {
    const reused = bytes > 0 ? this.#free.take(sizeClass(bytes)) : undefined
    return reused ?? this.#source.take(bytes)
  }

  /** Takes memory back: for the rest of the step, or, once closed, for everybody. */
  release(allocation: Allocation): void {
    if (this.#closed) this.#source.release(allocation)
    else if (allocation.bytes > 0) this.#free.put(allocation)
  }

  /** Gives everything back; what is in use follows when it is released. The recording is gone. */
  close(): void {
    this.#closed = true
    for (const allocation of this.#free.takeAll()) this.#source.release(allocation)
  }
}
