import { ReferenceBackend, type Tensor } from '@phsa/core'
import type { MeasurableBackend } from '../model/bench-context.js'
import { hostTimer } from '../model/host-timer.js'

/**
 * The reference with what a GPU has besides, to see that a program works where there is none: it records by computing again into the same tensors, and its
 * figures mean nothing.
 */
export function recordingReference(): MeasurableBackend {
  const backend = new ReferenceBackend()
  const { memory } = backend
  return Object.assign(backend, {
    // Otherwise nothing would be queued ahead.
    limits: { ...backend.limits, blocking: false },
    createTimer: () => hostTimer(),
    deviceMemory: () => ({ freeBytes: 2 ** 30, totalBytes: 2 ** 30 }),
    capture: async <T>(step: () => T) => {
      const result = memory.scope(step)
      const tensors = tensorsOf(result)
      return {
        result,
        replay: () =>
          memory.scope(() => {
            for (const [index, tensor] of tensorsOf(step()).entries()) memory.copy(tensor, tensors[index])
          }),
        dispose: () => {
          for (const tensor of tensors) tensor.dispose()
        },
      }
    },
  })
}

/** A tensor, or those of an object. */
function tensorsOf(result: unknown): Tensor[] {
  const isTensor = (value: unknown): value is Tensor => typeof (value as Tensor | undefined)?.dispose === 'function'
  return isTensor(result) ? [result] : Object.values(result as object).filter(isTensor)
}
