import { sizeClass } from './size-class.js'

/** Where memory comes from and goes back to. */
export interface MemorySource {
  /** The address of so many bytes, or undefined where there is no room. */
  allocate(bytes: number): bigint | undefined
  free(address: bigint): void
}

/** Memory that is taken. */
export interface Allocation {
  /** 0n for no bytes. */
  readonly address: bigint
  /** As given out: at least what was asked for. */
  readonly bytes: number
}

/**
 * Keeps freed memory for the next request of the same size class, because a call of the driver takes longer than most kernels and its free
 * waits for the GPU. With one stream, memory may be given out again at once: what its last user queued runs before what the next one queues.
 */
export class CachingAllocator {
  readonly #source: MemorySource
  readonly #free = new Map<number, Allocation[]>()
  #kept = 0

  constructor(source: MemorySource) {
    this.#source = source
  }

  /** Bytes that are kept for reuse. */
  get keptBytes(): number {
    return this.#kept
  }

  /** Memory with undefined contents, aligned to 256 bytes; undefined where there is no room, even after everything kept was given back. */
  take(bytes: number): Allocation | undefined {
    if (bytes === 0) return { address: 0n, bytes: 0 }
    const size = sizeClass(bytes)
    const reused = this.#free.get(size)?.pop()
    if (reused) {
      this.#kept -= size
      return reused
    }
    let address = this.#source.allocate(size)
    if (address === undefined && this.#kept > 0) {
      this.giveBack()
      address = this.#source.allocate(size)
    }
    return address === undefined ? undefined : { address, bytes: size }
  }

  /** Takes memory back that nobody uses any more. */
  release(allocation: Allocation): void {
    if (allocation.bytes === 0) return
    this.#kept += allocation.bytes
    const list = this.#free.get(allocation.bytes)
    if (list) list.push(allocation)
    else this.#free.set(allocation.bytes, [allocation])
  }

  /** Gives all that is kept back to the source. */
  giveBack(): void {
    for (const list of this.#free.values()) for (const { address } of list) this.#source.free(address)
    this.#free.clear()
    this.#kept = 0
  }
}
