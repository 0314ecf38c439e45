import { type ApiError, apiErrorOf } from './api-error.js'
import type { CompleteSettings } from './api-settings.js'
import { anybody, type Caller } from './caller.js'
import type { LogLine } from './log-line.js'
import type { RequestTrace } from './request-trace.js'
import type { ServerMetrics } from './server-metrics.js'

/** What is known of a request by now; becomes one log line when it ends. */
export class RequestRecord {
  readonly id: string
  readonly startedAt: number
  /** Whether its end is that of its stream. */
  isStreaming = false
  caller: Caller = anybody
  choices = 0
  promptTokens = 0
  cachedTokens = 0
  completionTokens = 0
  /** Of requests for texts. */
  trace: RequestTrace | undefined
  readonly #method: string
  readonly #route: string
  readonly #settings: CompleteSettings
  readonly #metrics: ServerMetrics
  #isOpen = true

  constructor({ id, method, route }: { id: string; method: string; route: string }, settings: CompleteSettings, metrics: ServerMetrics) {
    this.id = id
    this.#method = method
    this.#route = route
    this.#settings = settings
    this.#metrics = metrics
    this.startedAt = settings.now()
  }

  /** Milliseconds since the request came. */
  get elapsed(): number {
    return this.#settings.now() - this.startedAt
  }

  /** Writes the line; only the first end counts. */
  end(status: number, cause?: unknown): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#metrics.requestEnded(this.#route, status)
    const error = cause === undefined ? undefined : apiErrorOf(cause)
    this.trace?.end(status, error)
    this.#settings.log(this.#line(status, error))
  }

  #line(status: number, error: ApiError | undefined): LogLine {
    return {
      level: status >= 500 ? 'error' : status >= 400 ? 'warn' : 'info',
      event: 'request',
      requestId: this.id,
      method: this.#method,
      route: this.#route,
      status,
      milliseconds: Math.round(this.elapsed * 10) / 10,
      ...(this.trace?.traceId !== undefined && { traceId: this.trace.traceId }),
      ...(this.caller.name !== undefined && { key: this.caller.name }),
      ...(this.choices > 0 && {
        stream: this.isStreaming,
        choices: this.choices,
        promptTokens: this.promptTokens,
        cachedTokens: this.cachedTokens,
        completionTokens: this.completionTokens,
      }),
      ...(error?.code && { code: error.code }),
      ...(error?.param && { param: error.param }),
      // What the server did wrong; an error of the request may quote the request.
      ...(status >= 500 && error?.cause instanceof Error && { reason: error.cause.stack ?? error.cause.message }),
    }
  }
}
