import type { MessagePort } from 'node:worker_threads'
import type { EngineClient, EngineRequest } from '../engine/engine-client.js'
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
      this.#post({ type: 'events', events: this.#outbox })
      this.#outbox = []
    })
  }

  #post(answer: EngineAnswer): void {
    this.#port.postMessage(answer)
  }
}
