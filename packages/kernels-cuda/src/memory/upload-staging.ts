import type { Handle } from '../driver/cuda-driver.js'
import type { Device } from '../driver/device.js'
import type { PinnedBlock, PinnedMemory } from './pinned-memory.js'

/** Bytes of one slot, and of the largest single copy. */
export const SLOT_BYTES = 4 * 2 ** 20
/** Slots in flight at most: enough to keep the bus busy while the host fills the next. */
const SLOTS = 8
/** Pieces start at multiples of what all element types divide. */
const ALIGNMENT = 16

/** A piece of page-locked memory that copies to the device are made from, one after the other. */
interface Slot {
  readonly block: PinnedBlock
  /** Recorded behind the slot's last copy, once it is full. */
  readonly event: Handle
}

/**
 * Copies host data to the device so that the host's array may change as soon as the call returns: through a ring of page-locked slots, small
 * pieces side by side in one. A slot is filled again when the GPU has read it; only when all are unread does the host wait.
 */
export class UploadStaging {
  readonly #device: Device
  readonly #pinned: PinnedMemory
  /** Oldest first; the last one is being filled. */
  readonly #slots: Slot[] = []
  #filled = 0

  constructor(device: Device, pinned: PinnedMemory) {
    this.#device = device
    this.#pinned = pinned
  }

  /**
   * Queues a copy of at most SLOT_BYTES.
   * @param fill writes the bytes into a buffer from an offset on
   */
  send(target: Handle, bytes: number, fill: (buffer: ArrayBuffer, offset: number) => void): void {
    const slot = this.#slotWithRoom(bytes)
    const offset = this.#filled
    fill(slot.block.buffer, offset)
    this.#device.copyToDevice(target, slot.block.address + BigInt(offset), bytes)
    this.#filled = Math.ceil((offset + bytes) / ALIGNMENT) * ALIGNMENT
  }

  /** Gives the slots back; nothing may be in flight. */
  close(): void {
    for (const { block, event } of this.#slots) {
      this.#device.destroyEvent(event)
      this.#pinned.release(block)
    }
    this.#slots.length = 0
  }

  #slotWithRoom(bytes: number): Slot {
    const current = this.#slots.at(-1)
    if (current && this.#filled + bytes <= SLOT_BYTES) return current
    if (current) this.#device.recordEvent(current.event)
    const next = this.#nextSlot()
    this.#slots.push(next)
    this.#filled = 0
    return next
  }

  #nextSlot(): Slot {
    const oldest = this.#slots.length > 1 ? this.#slots[0] : undefined
    if (oldest && (this.#slots.length === SLOTS || this.#device.isReached(oldest.event))) {
      this.#device.waitFor(oldest.event)
      this.#slots.shift()
      return oldest
    }
    return { block: this.#pinned.take(SLOT_BYTES), event: this.#device.createEvent() }
  }
}
