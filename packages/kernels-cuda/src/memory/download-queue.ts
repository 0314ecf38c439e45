import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import type { Handle } from '../driver/cuda-driver.js'
import type { Device } from '../driver/device.js'
import { Result } from '../driver/result-codes.js'
import type { PinnedMemory } from './pinned-memory.js'

/** A copy to the host that is queued on the device. */
interface PendingDownload {
  /** Recorded behind the copy. */
  readonly event: Handle
  /** The bytes have arrived. */
  readonly complete: () => void
  readonly fail: (error: unknown) => void
}

/** Turns of the event loop spent looking before it sleeps a millisecond between looks. */
const EAGER_LOOKS = 200

/**
 * Copies from the device to the host that are waited for without blocking the event loop. One stream completes them in order, so one
 * worker thread waits for the oldest, however many there are.
 */
export class DownloadQueue {
  readonly #device: Device
  readonly #pinned: PinnedMemory
  readonly #pending: PendingDownload[] = []
  readonly #spareEvents: Handle[] = []
  #running: Promise<void> | undefined
  #workersWork = true

  constructor(device: Device, pinned: PinnedMemory) {
    this.#device = device
    this.#pinned = pinned
  }

  /** Queues a copy and resolves with what `read` makes of its bytes, once they are there. `read` copies: the buffer is used again. */
  fetch<T>(source: Handle, bytes: number, read: (buffer: ArrayBuffer) => T): Promise<T> {
    const block = this.#pinned.take(bytes)
    const event = this.#spareEvents.pop() ?? this.#device.createEvent()
    // Nothing to copy waits its turn too: what was queued before may have failed.
    if (bytes > 0) this.#device.copyToHost(block.address, source, bytes)
    this.#device.recordEvent(event)
    return new Promise((resolve, reject) => {
      const complete = () => {
        resolve(read(block.buffer))
        this.#pinned.release(block)
        this.#spareEvents.push(event)
      }
      this.#pending.push({ event, complete, fail: reject })
      this.#running ??= this.#run()
    })
  }

  /** Settles when no worker thread waits any more; undefined where none does. */
  get running(): Promise<void> | undefined {
    return this.#running
  }

  /** Completes all downloads at once; everything queued on the device must be done. */
  flush(): void {
    for (const { complete } of this.#pending.splice(0)) complete()
  }

  /** Rejects all downloads. */
  abandon(error: unknown): void {
    for (const { fail } of this.#pending.splice(0)) fail(error)
  }

  /** Gives the events back; nothing may be pending. */
  close(): void {
    for (const event of this.#spareEvents.splice(0)) this.#device.destroyEvent(event)
  }

  async #run(): Promise<void> {
    for (let oldest = this.#pending.at(0); oldest; oldest = this.#pending.at(0)) {
      try {
        await this.#wait(oldest.event)
      } catch (error) {
        // The stream runs no further: what was queued behind it fails with it.
        this.abandon(error)
        break
      }
      // Flushed in the meantime, perhaps.
      if (this.#pending.at(0) === oldest) {
        this.#pending.shift()
        oldest.complete()
      }
    }
    this.#running = undefined
  }

  async #wait(event: Handle): Promise<void> {
    if (this.#device.isReached(event)) return
    if (this.#workersWork) {
      const result = await this.#device.waitOnWorker(event)
      // A driver that looks at the thread's context, which a worker has none of, is asked from this thread from now on.
      this.#workersWork = result !== Result.invalidContext
      if (this.#workersWork) {
        this.#device.check('cuEventSynchronize', result)
        // Lost meanwhile for another reason: what arrived may be anything.
        return this.#device.checkOpen()
      }
    }
    for (let looks = 0; !this.#device.isReached(event); looks++) await (looks < EAGER_LOOKS ? turn() : sleep(1))
  }
}
