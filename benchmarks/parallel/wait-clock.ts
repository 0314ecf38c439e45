import type { Collective, ModelBackend } from '@phsa/core'
import type { CudaModelBackend } from '@phsa/kernels-cuda'

/** A backend whose waits for other ranks are timed. Disposing it does nothing. */
export interface WaitClock {
  readonly backend: ModelBackend
  /** Milliseconds for which the device's queue has waited for sums since the last call. Waits for the last one. */
  takeWaits(): number
  dispose(): void
}

/** The same backend with a mark in its queue before and behind each wait; the host's clock where it has no timer. */
export function waitClock(inner: ModelBackend & Partial<Pick<CudaModelBackend, 'createTimer'>>): WaitClock {
  const timer = inner.createTimer?.() ?? hostTimer()
  const { contractVersion, name, device, limits, memory, attention, paged, ops, lost, collective } = inner
  const timed: Collective | undefined = collective && {
    rank: collective.rank,
    size: collective.size,
    allReduce(tensors) {
      const ticket = collective.allReduce(tensors)
      return {
        wait() {
          timer.mark()
          ticket.wait()
          timer.mark()
        },
      }
    },
  }
  return {
    backend: {
      contractVersion,
      name,
      device,
      limits,
      memory,
      attention,
      paged,
      ops,
      lost,
      supports: (spec) => inner.supports(spec),
      prepare: (specs) => inner.prepare(specs),
      ...(inner.capture && { capture: (step) => inner.capture!(step) }),
      ...(timed && { collective: timed }),
      dispose: () => {},
    },
    takeWaits: () => [...timer.read()].filter((_, index) => index % 2 === 0).reduce((sum, wait) => sum + wait, 0),
    dispose: () => timer.dispose(),
  }
}

function hostTimer() {
  const marks: number[] = []
  return {
    mark: () => void marks.push(performance.now()),
    read: () => {
      const times = marks.splice(0)
      return times.slice(1).map((time, index) => time - times[index])
    },
    dispose: () => {},
  }
}
