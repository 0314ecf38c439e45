import { setImmediate as turn } from 'node:timers/promises'
import type { CapturedStep, ModelBackend, Tensor } from '@phsa/core'
import { rewired } from './rewired-backend.js'

/** What a recording backend has seen. */
export interface Recordings {
  replays: number
  /** Replays that were queued before the tokens of the one before had arrived. */
  ahead: number
}

/** Turns of the event loop from one download's arrival to the next one's: requests come and go in between. */
const LATENCY = 3

/**
 * Wraps a backend that computes at once: it records nothing, as the contract says, and computes the step at each replay, into the tensors of the first.
 * What is downloaded arrives later and one after the other, as from a device.
 */
export function recordingBackend(plain: ModelBackend, seen: Recordings): ModelBackend {
  const { memory } = plain
  const download = memory.download.bind(memory)
  let onTheirWay = 0
  let last = Promise.resolve()
  const arrival = async (before: Promise<void>) => {
    onTheirWay++
    await before
    for (let turns = 0; turns < LATENCY; turns++) await turn()
    onTheirWay--
  }
  Object.assign(memory, {
    download: async (tensor: Tensor) => {
      const values = download(tensor)
      last = arrival(last)
      await last
      return values
    },
  })
  return rewired(plain, {
    limits: { ...plain.limits, blocking: false },
    capture: async <T>(step: () => T): Promise<CapturedStep<T>> => {
      let result: Record<string, Tensor | undefined> | undefined
      return {
        get result() {
          return result as T
        },
        replay: () => {
          seen.replays++
          if (onTheirWay > 0) seen.ahead++
          if (!result) {
            result = memory.scope(step) as typeof result
            return
          }
          memory.scope(() => {
            const again = step() as typeof result
            for (const [name, tensor] of Object.entries(again!)) if (tensor) memory.copy(tensor, result![name]!)
          })
        },
        dispose: () => {
          for (const tensor of Object.values(result ?? {})) tensor?.dispose()
        },
      }
    },
  })
}
