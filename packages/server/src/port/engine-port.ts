import type { MessagePort } from 'node:worker_threads'
import type { EngineClient, EngineEvent, EngineLimits, EngineRequest, EngineStats } from '../engine/engine-client.js'
import { EngineStoppedError } from '../engine/engine-stopped-error.js'
import { errorFrom } from './error-message.js'
import { EventQueue } from './event-queue.js'
import type { EngineAnswer, EngineCall } from './port-messages.js'
import { SlowClientError } from './slow-client-error.js'

/** Events of one stream that may wait for its client; one more ends the stream. */
const USUAL_UNREAD = 4096

interface PendingStats {
  readonly resolve: (stats: EngineStats) => void
  readonly reject: (error: Error) => void
}

/**
 * An engine in another thread, where an `EngineHost` serves it. Memory is bounded: events wait here for a client that reads slowly, `unread` a stream, and
 * one more ends its request with a SlowClientError, so that a client that does not read holds no pages either.
 */
export class EnginePort implements EngineClient {
  readonly limits: EngineLimits
  readonly #port: MessagePort
  readonly #unread: number
  readonly #streams = new Map<number, EventQueue<EngineEvent>>()
  readonly #stats = new Map<number, PendingStats>()
  /** Of this turn of the event loop. */
  #inbox: EngineAnswer[] = []
  #next = 0
  #isClosed = false

  /** @param limits of the engine behind the port @param unread events of one stream that may wait */
  constructor(port: MessagePort, limits: EngineLimits, unread = USUAL_UNREAD) {
    this.limits = limits
    this.#port = port
    this.#unread = unread
    port.on('message', (answer: EngineAnswer) => this.#collect(answer))
    port.on('close', () => this.#end())
  }

  async *generate(request: EngineRequest, signal?: AbortSignal): AsyncGenerator<EngineEvent, void, undefined> {
    signal?.throwIfAborted()
    if (this.#isClosed) throw stopped()
    const stream = this.#next++
    const queue = new EventQueue<EngineEvent>(this.#unread, () => tooSlow(this.#unread))
    // At once: the reader may be stuck in a write to a client that is gone.
    const abort = () => {
      queue.fail(signal?.reason)
      this.#cancel(stream)
    }
    signal?.addEventListener('abort', abort, { once: true })
    this.#streams.set(stream, queue)
    this.#post({ type: 'generate', stream, request })
    try {
      for (;;) {
        const event = await queue.next()
        if (event.type === 'end') this.#streams.delete(stream)
        yield event
        if (event.type === 'end') return
      }
    } finally {
      signal?.removeEventListener('abort', abort)
      this.#cancel(stream)
    }
  }

  async stats(): Promise<EngineStats> {
    if (this.#isClosed) throw stopped()
    const call = this.#next++
    return new Promise((resolve, reject) => {
      this.#stats.set(call, { resolve, reject })
      this.#post({ type: 'stats', call })
    })
  }

  /** Tells the engine once, and only of a stream that it has not ended itself. */
  #cancel(stream: number): void {
    if (this.#streams.delete(stream) && !this.#isClosed) this.#post({ type: 'cancel', stream })
  }

  /** A thread that has fallen behind finds several steps here: tokens of a stream that are read in one go are written to its client in one go. */
  #collect(answer: EngineAnswer): void {
    this.#inbox.push(answer)
    if (this.#inbox.length === 1) setImmediate(() => this.#readInbox())
  }

  #readInbox(): void {
    for (const answer of this.#inbox.splice(0)) this.#receive(answer)
  }

  #receive(answer: EngineAnswer): void {
    if (answer.type === 'tokens') {
      for (const [index, stream] of answer.streams.entries()) this.#take(stream, { type: 'token', id: answer.ids[index] })
      return
    }
    if (answer.type === 'events') {
      for (const message of answer.events) {
        if ('event' in message) this.#take(message.stream, message.event)
        else {
          const queue = this.#streams.get(message.stream)
          this.#streams.delete(message.stream)
          queue?.fail(errorFrom(message.error))
        }
      }
      return
    }
    const pending = this.#stats.get(answer.call)
    this.#stats.delete(answer.call)
    if (answer.type === 'stats') pending?.resolve(answer.stats)
    else pending?.reject(errorFrom(answer.error))
  }

  #take(stream: number, event: EngineEvent): void {
    // Now and not when the client reads on, which may be never.
    if (this.#streams.get(stream)?.push(event) === false) this.#cancel(stream)
  }

  #end(): void {
    this.#readInbox()
    this.#isClosed = true
    for (const queue of this.#streams.values()) queue.fail(stopped())
    for (const { reject } of this.#stats.values()) reject(stopped())
    this.#streams.clear()
    this.#stats.clear()
  }

  #post(call: EngineCall): void {
    this.#port.postMessage(call)
  }
}

function stopped(): EngineStoppedError {
  return new EngineStoppedError('the engine of this server has ended; start the server again.')
}

function tooSlow(unread: number): SlowClientError {
  return new SlowClientError(`more than ${unread} tokens of this stream waited for its client, so it was ended; read it as it comes.`)
}
