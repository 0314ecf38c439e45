import { isPhsaError, type PhsaErrorCode } from '../errors/phsa-error.js'
import { booleanCheck, type TensorCheck } from './tensor-check.js'

/** A call must throw, or reject with, an error of this code and say something. */
export async function errorCheck(name: string, code: PhsaErrorCode, call: () => unknown): Promise<TensorCheck> {
  try {
    await call()
  } catch (error) {
    const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
    return booleanCheck(name, isPhsaError(error, code) && error.message.length > 0, `expected a ${code} error, got ${text}`)
  }
  return booleanCheck(name, false, `expected a ${code} error, but the call returned`)
}
