import type { Allocation, BufferPool } from './buffer-pool.js'

/**
 * Memory of one recorded step, whose commands name its buffers for good: it is used again inside of the step, and by nobody else until the recording
 * is gone.
 */
export class StepPool {
  readonly #source: BufferPool
  #free: Allocation[] = []
  #closed = false

  constructor(source: BufferPool) {
    this.#source = source
  }

  /** As `BufferPool.take`. */
  take(bytes: number): Allocation {
    const index = this.#free.findIndex((each) => each.bytes === bytes)
    return index < 0 ? this.#source.take(bytes) : this.#free.splice(index, 1)[0]
  }

  /** Takes memory back: for the rest of the step, or, once closed, for everybody. */
  release(allocation: Allocation): void {
    if (this.#closed) this.#source.release(allocation)
    else this.#free.push(allocation)
  }

  /** Gives everything back; what is in use follows when it is released. */
  close(): void {
    this.#closed = true
    for (const allocation of this.#free) this.#source.release(allocation)
    this.#free = []
  }
}
