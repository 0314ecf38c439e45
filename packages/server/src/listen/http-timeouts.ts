/** How long a client may take, in milliseconds, and how many there may be. Plain data. */
export interface HttpTimeouts {
  /** To send the headers of a request; then 408. */
  readonly headers: number
  /** To send a whole request; then 408. */
  readonly request: number
  /** Between two requests on one connection. */
  readonly keepAlive: number
  /** To take anything of a response that waits for it; then the connection is cut and its request cancelled. */
  readonly stalled: number
  /** Connections at once; more are closed as they come. */
  readonly maxConnections: number
}

/** What a server does where nobody says otherwise. */
export const USUAL_TIMEOUTS: HttpTimeouts = { headers: 10_000, request: 60_000, keepAlive: 5_000, stalled: 30_000, maxConnections: 4096 }
