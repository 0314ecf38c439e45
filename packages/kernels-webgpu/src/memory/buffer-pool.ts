import type { DeviceBuffer } from '../device/kernel-launch.js'

/** Memory that is taken. */
export interface Allocation {
  readonly memory: DeviceBuffer
  /** Size of the buffer: at least what was asked for. */
  readonly bytes: number
}

/** Where buffers come from and go back to. */
export interface BufferSource {
  create(bytes: number): DeviceBuffer
  destroy(memory: DeviceBuffer): void
}

/**
 * Keeps freed buffers for the next request of the same size class, because making one costs more than most kernels. Work runs in order, so a buffer
 * may be given out again at once: what its last user queued runs before what the next one queues.
 */
export class BufferPool {
  readonly #source: BufferSource
  readonly #free = new Map<number, DeviceBuffer[]>()

  constructor(source: BufferSource) {
    this.#source = source
  }

  /** A buffer with undefined contents. @param bytes of a size class */
  take(bytes: number): Allocation {
    const memory = this.#free.get(bytes)?.pop() ?? this.#source.create(bytes)
    return { memory, bytes }
  }

  /** Takes a buffer back that nobody uses any more. */
  release({ memory, bytes }: Allocation): void {
    if (memory.isVoid) {
      this.#source.destroy(memory)
      return
    }
    const list = this.#free.get(bytes)
    if (list) list.push(memory)
    else this.#free.set(bytes, [memory])
  }

  /** Destroys all that is kept. */
  giveBack(): void {
    for (const memory of [...this.#free.values()].flat()) this.#source.destroy(memory)
    this.#free.clear()
  }
}
