import type { MessagePort } from 'node:worker_threads'
import type { EngineClient, EngineEvent, EngineRequest } from '../engine/engine-client.js'
import { errorMessage } from './error-message.js'
import type { EngineAnswer, EngineCall, StreamMessage } from './port-messages.js'

/** Serves an engine over a port to an `EnginePort` in another thread, until the port closes. */
export class EngineHost {
  readonly #engine: EngineClient
  readonly #port: MessagePort
  readonly #streams = new Map<number, AbortController>()
  #outbox: StreamMessage[] = []

  constructor(engine: EngineClient, port: MessagePort) {
    this.#engine = engine
    this.#port = port
    port.on('message', (call: EngineCall) => this.#receive(call))
    // The other thread is gone: nobody reads what is still running.
    port.on('close', () => {
      for (const controller of this.#streams.values()) controller.abort()
    })
  }

  #receive(call: EngineCall): void {
    if (call.type === 'generate') void this.#generate(call.stream, call.request)
    else if (call.type === 'cancel') this.#streams.get(call.stream)?.abort()
    else void this.#tellStats(call.call)
  }

  async #generate(stream: number, request: EngineRequest): Promise<void> {
    const controller = new AbortController()
    this.#streams.set(stream, controller)
    try {
      for await (const event of this.#engine.generate(request, controller.signal)) this.#send({ stream, event })
    } catch (error) {
      // Whoever cancelled does not wait for an answer.
      if (!controller.signal.aborted) this.#send({ stream, error: errorMessage(error) })
    } finally {
      this.#streams.delete(stream)
    }
  }

  async #tellStats(call: number): Promise<void> {
    try {
      this.#post({ type: 'stats', call, stats: await this.#engine.stats() })
    } catch (error) {
      this.#post({ type: 'stats-failed', call, error: errorMessage(error) })
    }
  }

  /** A step settles all streams in one turn of the event loop; what they got goes out together at the end of it, before the next step blocks. */
  #send(message: StreamMessage): void {
    this.#outbox.push(message)
    if (this.#outbox.length > 1) return
    process.nextTick(() => {
      const events = this.#outbox
      this.#outbox = []
      this.#post(events.every(isPlainToken) ? tokensOf(events) : { type: 'events', events })
    })
  }

  #post(answer: EngineAnswer): void {
    this.#port.postMessage(answer)
  }
}

interface PlainToken {
  readonly stream: number
  readonly event: Extract<EngineEvent, { type: 'token' }>
}

function isPlainToken(message: StreamMessage): message is PlainToken {
  return 'event' in message && message.event.type === 'token' && message.event.logprob === undefined
}

/** Two arrays cross the boundary in a fraction of the time that as many objects take. */
function tokensOf(messages: readonly PlainToken[]): EngineAnswer {
  return {
    type: 'tokens',
    streams: new Int32Array(messages.map(({ stream }) => stream)),
    ids: new Int32Array(messages.map(({ event }) => event.id)),
  }
}
