import type { QueueTimer } from '@phsa/kernels-cuda'

/** A queue timer for backends that are done when a call returns, by a clock. */
export function hostTimer(now: () => number = () => performance.now()): QueueTimer {
  const marks: number[] = []
  return {
    mark: () => void marks.push(now()),
    read() {
      const read = marks.splice(0)
      return Float64Array.from(read.slice(1), (mark, index) => mark - read[index])
    },
    dispose: () => undefined,
  }
}

/** A timer whose clock goes on by one with each mark. */
export function tickingTimer(): QueueTimer {
  let time = 0
  return hostTimer(() => time++)
}
