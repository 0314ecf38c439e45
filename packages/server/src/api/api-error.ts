import { isPhsaError, shortened } from '@phsa/core'

/** What an error says besides its message. */
export interface ApiErrorDetails {
  /** Parameter of the body that is wrong, as a path: `messages[0].content`. */
  readonly param?: string
  /** Stable word for programs: `context_length_exceeded`, `queue_full`. */
  readonly code?: string
  /** Whole seconds after which to try again; becomes the header Retry-After. */
  readonly retryAfter?: number
  readonly cause?: unknown
}

/** Statuses that the API answers with on purpose; 499 is only ever logged: the client has left. */
export type ErrorStatus = 400 | 401 | 403 | 404 | 413 | 415 | 429 | 499 | 500 | 503

const TYPES: Readonly<Record<ErrorStatus, string>> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'invalid_request_error',
  415: 'invalid_request_error',
  429: 'rate_limit_error',
  499: 'client_closed_request',
  500: 'server_error',
  503: 'service_unavailable_error',
}

/** An answer that is no success, in OpenAI's form. */
export class ApiError extends Error {
  readonly status: ErrorStatus
  readonly param: string | null
  readonly code: string | null
  readonly retryAfter: number | undefined

  constructor(status: ErrorStatus, message: string, { param, code, retryAfter, cause }: ApiErrorDetails = {}) {
    super(message, { cause })
    this.name = 'ApiError'
    this.status = status
    this.param = param === undefined ? null : shortened(param)
    this.code = code ?? null
    this.retryAfter = retryAfter
  }

  /** The body of the answer. */
  toJSON(): { error: { message: string; type: string; param: string | null; code: string | null } } {
    return { error: { message: this.message, type: TYPES[this.status], param: this.param, code: this.code } }
  }
}

/** Seconds after which a client of a full queue may try again: requests take seconds, not milliseconds. */
const BUSY_SECONDS = 2

/**
 * Anything thrown as an answer. What is no error of the request is a 500 that tells nothing of the inside; its cause is for the log.
 * @param left whether the client has gone: then nothing else counts
 */
export function apiErrorOf(error: unknown, left = false): ApiError {
  if (error instanceof ApiError) return error
  if (left) return new ApiError(499, 'the client closed the connection.', { cause: error })
  if (isPhsaError(error, 'slow-client')) return new ApiError(499, error.message, { code: 'slow_client', cause: error })
  if (isPhsaError(error, 'queue-full'))
    return new ApiError(429, error.message, { code: 'queue_full', retryAfter: BUSY_SECONDS, cause: error })
  if (isPhsaError(error, 'engine-stopped')) {
    return new ApiError(503, error.message, { code: 'engine_stopped', retryAfter: BUSY_SECONDS, cause: error })
  }
  if (isPhsaError(error, 'invalid-input')) return new ApiError(400, error.message, { cause: error })
  return new ApiError(500, 'the server failed at this request; its log has the reason under the request id.', { cause: error })
}
