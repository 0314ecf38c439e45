import { ApiError } from './api-error.js'

/** @throws ApiError 400 that names a parameter; the message says what was asked and what is allowed */
export function refuseParameter(param: string, message: string): never {
  throw new ApiError(400, message, { param, code: 'invalid_parameter' })
}
