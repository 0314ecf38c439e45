import { OutOfMemoryError } from '@phsa/core'
import type { Device } from '../driver/device.js'
import { CachingAllocator } from './caching-allocator.js'
import type { Allocation } from './free-lists.js'

/** Page-locked host memory that JavaScript reads and writes too. */
export interface PinnedBlock extends Allocation {
  readonly buffer: ArrayBuffer
}

/**
 * Page-locked host memory, which the GPU copies from and to by itself while the host goes on. All of it is kept for reuse: locking pages is slow, and the
 * driver unlocks none before the GPU is done with what is queued, which would block the event loop after a download.
 */
export class PinnedMemory {
  readonly #device: Device
  readonly #allocator: CachingAllocator
  /** By address, of what the driver has given and not got back. */
  readonly #buffers = new Map<bigint, ArrayBuffer>()

  constructor(device: Device) {
    this.#device = device
    this.#allocator = new CachingAllocator({
      allocate: (bytes) => device.allocateHost(bytes),
      free: (address) => {
        this.#buffers.delete(address)
        device.freeHost(address)
      },
    })
  }

  /** @throws OutOfMemoryError where the system locks no more pages */
  take(bytes: number): PinnedBlock {
    const allocation = this.#allocator.take(bytes)
    if (!allocation) {
      throw new OutOfMemoryError(
        `a copy between host and GPU needs ${bytes} bytes of page-locked host memory, which the system does not give. Copy less at once, or free memory of the host.`,
      )
    }
    return { ...allocation, buffer: this.#view(allocation) }
  }

  release(block: PinnedBlock): void {
    this.#allocator.release({ address: block.address, bytes: block.bytes })
  }

  /** Gives all that is not taken back to the system. */
  close(): void {
    this.#allocator.giveBack()
  }

  #view({ address, bytes }: Allocation): ArrayBuffer {
    if (bytes === 0) return new ArrayBuffer(0)
    let buffer = this.#buffers.get(address)
    if (!buffer) {
      buffer = this.#device.viewHost(address, bytes)
      this.#buffers.set(address, buffer)
    }
    return buffer
  }
}
