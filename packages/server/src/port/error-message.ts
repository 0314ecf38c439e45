import { BackendLostError, isPhsaError, OutOfMemoryError, PhsaError } from '@phsa/core'
import { InvalidInputError } from '@phsa/model'
import { EngineStoppedError } from '../engine/engine-stopped-error.js'
import { QueueFullError } from '../engine/queue-full-error.js'
import type { ErrorMessage } from './port-messages.js'

const CLASSES: Readonly<Record<string, new (message: string) => PhsaError>> = {
  'backend-lost': BackendLostError,
  'engine-stopped': EngineStoppedError,
  'invalid-input': InvalidInputError,
  'out-of-memory': OutOfMemoryError,
  'queue-full': QueueFullError,
}

/** An error as it crosses a thread boundary: its code and what it says. */
export function errorMessage(error: unknown): ErrorMessage {
  return {
    code: isPhsaError(error) ? error.code : undefined,
    message: error instanceof Error ? error.message : String(error),
  }
}

/** The error again on the other side: of its class where an engine throws it, else a `PhsaError` of the same code. */
export function errorFrom({ code, message }: ErrorMessage): Error {
  if (code === undefined) return new Error(message)
  const known = Object.hasOwn(CLASSES, code) ? CLASSES[code] : undefined
  return known ? new known(message) : new PhsaError(code, message)
}
