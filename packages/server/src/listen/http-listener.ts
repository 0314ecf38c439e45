import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type HttpTimeouts, USUAL_TIMEOUTS } from './http-timeouts.js'
import { listenError } from './listen-error.js'
import { StalledResponses } from './stalled-responses.js'

/** Time for the last bytes of responses before connections are cut. */
const LAST_BYTES_MILLISECONDS = 500

/** An HTTP server that bounds how long clients may take, and knows when no response is open any more. */
export class HttpListener {
  readonly #server: Server
  readonly #stalled: StalledResponses
  readonly #open = new Set<ServerResponse>()
  #idle: (() => void)[] = []

  private constructor(server: Server, stalled: StalledResponses) {
    this.#server = server
    this.#stalled = stalled
    server.prependListener('request', (_, response: ServerResponse) => this.#track(response))
  }

  /** @param port 0 for any that is free @throws ListenError */
  static async listen(answer: RequestListener, host: string, port: number, timeouts: HttpTimeouts = USUAL_TIMEOUTS): Promise<HttpListener> {
    const { headers, request, keepAlive, stalled, maxConnections } = timeouts
    const options = { headersTimeout: headers, requestTimeout: request, keepAliveTimeout: keepAlive }
    // Node looks for late clients every 30 seconds unless told.
    const server = createServer({ ...options, connectionsCheckingInterval: Math.max(10, Math.min(headers, request) / 4) }, answer)
    server.maxConnections = maxConnections
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(listenError(host, port, error)))
      // Whoever finds no place among those that wait to be taken tries again only after seconds, also the one who asks for /health.
      server.listen({ host, port, backlog: maxConnections }, resolve)
    })
    return new HttpListener(server, new StalledResponses(stalled))
  }

  get address(): AddressInfo {
    return this.#server.address() as AddressInfo
  }

  /** Resolves when no response is open but to requests that have not come whole: who sends slowly must not hold up the end. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#isIdle) resolve()
      else this.#idle.push(resolve)
    })
  }

  /** Takes no more connections, lets open responses send their last bytes for a moment, and cuts what is left. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    const cut = setTimeout(() => this.#server.closeAllConnections(), LAST_BYTES_MILLISECONDS)
    await closed
    clearTimeout(cut)
    this.#stalled.stop()
  }

  get #isIdle(): boolean {
    return ![...this.#open].some(({ req }) => req.complete)
  }

  #track(response: ServerResponse): void {
    this.#open.add(response)
    this.#stalled.watch(response)
    response.on('close', () => {
      this.#open.delete(response)
      if (this.#idle.length === 0 || !this.#isIdle) return
      for (const resolve of this.#idle) resolve()
      this.#idle = []
    })
  }
}
