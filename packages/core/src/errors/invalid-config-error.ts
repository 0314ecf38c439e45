import { PhsaError } from './phsa-error.js'

/** A value that a caller set is not allowed; the message names it, the allowed values and the remedy. */
export class InvalidConfigError extends PhsaError {
  /** The setting, for instance `blockSize`. */
  readonly setting: string

  constructor(setting: string, message: string, options?: ErrorOptions) {
    super('invalid-config', message, options)
    this.setting = setting
  }
}
