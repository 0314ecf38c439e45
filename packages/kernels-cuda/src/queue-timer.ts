import type { Handle } from './driver/cuda-driver.js'
import type { Device } from './driver/device.js'

/** Milliseconds of work on the GPU, taken by marks in its queue: the host may run ahead and is not timed. */
export interface QueueTimer {
  /** Queues a mark behind everything queued so far. */
  mark(): void
  /**
   * Blocks until the last mark is reached.
   * @returns milliseconds from each mark to the next, one less than there were marks; the timer starts anew
   */
  read(): Float64Array
  dispose(): void
}

/** A timer of one device's queue. */
export function queueTimer(device: Device): QueueTimer {
  const marks: Handle[] = []
  const spare: Handle[] = []
  return {
    mark() {
      const event = spare.pop() ?? device.createEvent('timed')
      marks.push(event)
      device.recordEvent(event)
    },
    read() {
      const last = marks.at(-1)
      if (last !== undefined) device.waitFor(last)
      const times = Float64Array.from(marks.slice(1), (event, index) => device.elapsed(marks[index], event))
      spare.push(...marks.splice(0))
      return times
    },
    dispose() {
      for (const event of [...marks.splice(0), ...spare.splice(0)]) device.destroyEvent(event)
    },
  }
}
