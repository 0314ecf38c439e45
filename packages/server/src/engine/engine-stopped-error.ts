import { PhsaError } from '@phsa/core'

/** The engine takes no more requests: it drains, was stopped, or its backend is gone. Code `engine-stopped`. */
export class EngineStoppedError extends PhsaError {
  constructor(message: string, options?: ErrorOptions) {
    super('engine-stopped', message, options)
  }
}
