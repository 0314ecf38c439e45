import type { Socket } from 'node:net'

/** What ranks tell each other. */
export type GroupMessage =
  | { readonly kind: 'hello'; readonly protocol: string; readonly rank: number; readonly size: number }
  /** Everybody is there. */
  | { readonly kind: 'start'; readonly shared: string }
  | { readonly kind: 'refused'; readonly reason: string }
  /** Still alive. */
  | { readonly kind: 'beat' }
  | { readonly kind: 'failed'; readonly reason: string }
  /** Ended in good order. */
  | { readonly kind: 'left'; readonly rank: number }

/** Far more than any message; who sends more speaks something else. */
const MOST_CHARACTERS = 4096

/** Messages over a connection, one JSON object a line. */
export class MessageSocket {
  readonly #socket: Socket
  #heard = performance.now()
  #text = ''
  #onMessage: (message: GroupMessage) => void = () => {}

  constructor(socket: Socket) {
    this.#socket = socket
    socket.setEncoding('utf8').setNoDelay(true)
    socket.on('data', (text) => this.#read(String(text)))
    // What it says comes with 'close' too, which always follows.
    socket.on('error', () => socket.destroy())
  }

  /** Milliseconds since the other side was heard. */
  get silence(): number {
    return performance.now() - this.#heard
  }

  /** Who is called with each message, from now on. */
  listen(onMessage: (message: GroupMessage) => void): void {
    this.#onMessage = onMessage
  }

  onClose(onClose: () => void): void {
    if (this.#socket.destroyed) onClose()
    else this.#socket.on('close', onClose)
  }

  send(message: GroupMessage): void {
    if (!this.#socket.destroyed) this.#socket.write(`${JSON.stringify(message)}\n`)
  }

  /** Sends what is left and closes. */
  end(): void {
    this.#socket.end()
  }

  /** A process may end although the connection is open. */
  unref(): void {
    this.#socket.unref()
  }

  close(): void {
    this.#socket.destroy()
  }

  #read(text: string): void {
    this.#heard = performance.now()
    const lines = (this.#text + text).split('\n')
    this.#text = lines.pop() ?? ''
    for (const line of lines) {
      const message = parse(line)
      if (message) this.#onMessage(message)
      else this.close()
    }
    if (this.#text.length > MOST_CHARACTERS) this.close()
  }
}

/** Undefined for what is no message of ours: on an open port anybody may knock. */
function parse(line: string): GroupMessage | undefined {
  if (line.length > MOST_CHARACTERS || !line.startsWith('{"kind":')) return undefined
  try {
    return JSON.parse(line) as GroupMessage
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}
