import { PhsaError } from '@phsa/core'

/** Too many steps in a row had no finite gradient; the message says how many and what to try. Code `training-diverged`. */
export class TrainingDivergedError extends PhsaError {
  constructor(message: string) {
    super('training-diverged', message)
  }
}
