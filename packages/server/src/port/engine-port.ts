import type { MessagePort } from 'node:worker_threads'
import { afterRounds } from '../after-rounds.js'
import type { EngineClient, EngineEvent, EngineLimits, EngineRequest, EngineStats } from '../engine/engine-client.js'
import { EngineStoppedError } from '../engine/engine-stopped-error.js'
import { errorFrom } from './error-message.js'
import { EventQueue } from './event-queue.js'
import type { EngineAnswer, EngineCall, StreamMessage } from './port-messages.js'
import { SlowClientError } from './slow-client-error.js'

/** Events of one stream that may wait for its client; one more ends the stream. */
const USUAL_UNREAD = 4096
/** Streams that are told something before others of this thread get their turn: a millisecond. */
const STREAMS_AT_ONCE = 8

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
  /** What streams are to be told, in its order; they take their turns. */
  readonly #inbox = new Map<number, StreamMessage[]>()
  #next = 0
  #isClosed = false

  /** @param limits of the engine behind the port @param unread events of one stream that may wait */
  constructor(port: MessagePort, limits: EngineLimits, unread = USUAL_UNREAD) {
    this.limits = limits
    this.#port = port
    this.#unread = unread
    port.on('message', (answer: EngineAnswer) => this.#receive(answer))
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

  #receive(answer: EngineAnswer): void {
    if (answer.type === 'tokens') {
      for (const [index, stream] of answer.streams.entries()) this.#collect({ stream, event: { type: 'token', id: answer.ids[index] } })
      return
    }
    if (answer.type === 'events') {
      for (const message of answer.events) this.#collect(message)
      return
    }
    const pending = this.#stats.get(answer.call)
    this.#stats.delete(answer.call)
    if (answer.type === 'stats') pending?.resolve(answer.stats)
    else pending?.reject(errorFrom(answer.error))
  }

  /** A thread that has fallen behind finds several steps here: tokens of a stream that are read in one go are written to its client in one go. */
  #collect(message: StreamMessage): void {
    const messages = this.#inbox.get(message.stream)
    if (messages) messages.push(message)
    else if (this.#inbox.set(message.stream, [message]).size === 1) setImmediate(() => this.#readInbox())
  }

  #readInbox(): void {
    this.#tellStreams(STREAMS_AT_ONCE)
    if (this.#inbox.size > 0) afterRounds(() => this.#readInbox())
  }

  #tellStreams(most: number): void {
    let told = 0
    for (const [stream, messages] of this.#inbox) {
      if (told++ === most) return
      this.#inbox.delete(stream)
      for (const message of messages) this.#tell(message)
    }
  }

  #tell(message: StreamMessage): void {
    if ('event' in message) {
      this.#take(message.stream, message.event)
      return
    }
    const queue = this.#streams.get(message.stream)
    this.#streams.delete(message.stream)
    queue?.fail(errorFrom(message.error))
  }

  #take(stream: number, event: EngineEvent): void {
    // Now and not when the client reads on, which may be never.
    if (this.#streams.get(stream)?.push(event) === false) this.#cancel(stream)
  }

  #end(): void {
    this.#tellStreams(Number.POSITIVE_INFINITY)
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
