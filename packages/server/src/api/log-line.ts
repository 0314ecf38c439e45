/** What is logged of a request when it ends: numbers and names, never text of a prompt or an answer. */
export interface LogLine {
  readonly level: 'info' | 'warn' | 'error'
  readonly event: 'request'
  /** Also the answer's header x-request-id. */
  readonly requestId: string
  /** Where OpenTelemetry keeps spans of the request. */
  readonly traceId?: string
  readonly method: string
  /** The route, not the address that was asked for: that may hold anything. */
  readonly route: string
  /** 499: the client left before the end. A stream that fails after its start has the status of the failure. */
  readonly status: number
  readonly milliseconds: number
  /** Name of the API key. */
  readonly key?: string
  readonly stream?: boolean
  readonly choices?: number
  readonly promptTokens?: number
  readonly cachedTokens?: number
  readonly completionTokens?: number
  /** Code and parameter of an error of the request. */
  readonly code?: string
  readonly param?: string
  /** Of an error of the server: message and stack. */
  readonly reason?: string
}
