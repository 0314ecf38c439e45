import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** Where the sending of a response stood, and since when. */
interface Progress {
  sent: number
  since: number
}

/** Cuts connections whose clients take nothing of what waits for them: nothing else would end a client that keeps its side open and does not read. */
export class StalledResponses {
  readonly #open = new Map<ServerResponse, Progress>()
  readonly #milliseconds: number
  readonly #timer: NodeJS.Timeout

  /** @param milliseconds that a client may take nothing */
  constructor(milliseconds: number) {
    this.#milliseconds = milliseconds
    this.#timer = setInterval(() => this.#check(), Math.max(10, milliseconds / 4)).unref()
  }

  watch(response: ServerResponse): void {
    this.#open.set(response, { sent: -1, since: performance.now() })
    response.on('close', () => this.#open.delete(response))
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #check(): void {
    for (const [{ socket }, progress] of this.#open) {
      const sent = socket && socket.writableLength > 0 ? sentBytes(socket) : -1
      if (socket && sent >= 0 && sent === progress.sent) {
        if (performance.now() - progress.since > this.#milliseconds) socket.destroy()
      } else {
        progress.sent = sent
        progress.since = performance.now()
      }
    }
  }
}

/** Bytes that the system took; `bytesWritten` counts those that wait, too. */
function sentBytes(socket: Socket): number {
  return socket.bytesWritten - socket.writableLength
}
