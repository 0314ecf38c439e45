import type { ModelBackend } from '@phsa/core'
import type { QueueTimer } from '@phsa/kernels-cuda'
import { clock } from './client-streams.js'

/** One replay of a recorded step. */
export interface WatchedStep {
  /** When it was queued, by `clock`. */
  readonly at: number
  /** From the arrival of what the replay before gave to the end of the call that queued this one; 0 where that had not arrived yet, so that nothing waited. */
  readonly host: number
  /** Milliseconds on the GPU, and from its end to the beginning of the next replay; 0 for the last one. */
  readonly device: number
  readonly idle: number
}

/** Sees the recorded steps of a backend. */
export interface StepWatch {
  /** Waits for the GPU. @returns the steps since the last call */
  take(): WatchedStep[]
}

/** Watches from now on, by wrapping the backend's own methods: `capture` and `memory.download`. @param timer nobody else's */
export function watchSteps(backend: ModelBackend, timer: QueueTimer): StepWatch {
  const { memory, capture } = backend
  const download = memory.download.bind(memory)
  let replays: { readonly at: number; readonly host: number }[] = []
  let queued = 0
  /** Replays whose tokens are here, and since when. */
  let taken = 0
  let arrived = 0
  Object.assign(memory, {
    download: async (...args: Parameters<typeof download>) => {
      const before = queued
      const values = await download(...args)
      taken = Math.max(taken, before)
      arrived = clock()
      return values
    },
  })
  if (capture) {
    const plain = capture.bind(backend)
    Object.assign(backend, {
      capture: async <T>(step: () => T) => {
        const captured = await plain(step)
        const replay = () => {
          timer.mark()
          captured.replay()
          timer.mark()
          const at = clock()
          replays.push({ at, host: queued > 0 && taken === queued ? at - arrived : 0 })
          queued++
        }
        return {
          get result() {
            return captured.result
          },
          replay,
          dispose: () => captured.dispose(),
        }
      },
    })
  }
  return {
    take() {
      const times = timer.read()
      const steps = replays
      replays = []
      return steps.map((step, index) => ({ ...step, device: times[2 * index], idle: times[2 * index + 1] ?? 0 }))
    },
  }
}
