import { PhsaError } from './phsa-error.js'

/** A backend was built against another version of the contract than the core that received it. */
export class ContractVersionError extends PhsaError {
  constructor(message: string) {
    super('contract-version', message)
  }
}
