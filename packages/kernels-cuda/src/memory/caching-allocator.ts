import { type Allocation, FreeLists } from './free-lists.js'
import { sizeClass } from './size-class.js'

/** Where memory comes from and goes back to. */
export interface MemorySource {
  /** The address of so many bytes, or undefined where there is no room. */
  allocate(bytes: number): bigint | undefined
  free(address: bigint): void
}

/**
 * Keeps freed memory for the next request of the same size class, because a call of the driver takes longer than most kernels and its free
 * waits for the GPU. With one stream, memory may be given out again at once: what its last user queued runs before what the next one queues.
 */
export class CachingAllocator {
  readonly #source: MemorySource
  readonly #kept = new FreeLists()

  constructor(source: MemorySource) {
    this.#source = source
  }

  /** Bytes that are kept for reuse. */
  get keptBytes(): number {
    return this.#kept.bytes
  }

  /** Memory with undefined contents, aligned to 256 bytes; undefined where there is no room, even after everything kept was given back. */
  take(bytes: number): Allocation | undefined {
    if (bytes === 0) return { address: 0n, bytes: 0 }
    const size = sizeClass(bytes)
    const reused = this.#kept.take(size)
    if (reused) return reused
    let address = this.#source.allocate(size)
    if (address === undefined && this.keptBytes > 0) {
      this.giveBack()
      address = this.#source.allocate(size)
    }
    return address === undefined ? undefined : { address, bytes: size }
  }

  /** Takes memory back that nobody uses any more. */
  release(allocation: Allocation): void {
    if (allocation.bytes > 0) this.#kept.put(allocation)
  }

  /** Gives all that is kept back to the source. */
  giveBack(): void {
    for (const { address } of this.#kept.takeAll()) this.#source.free(address)
  }
}
