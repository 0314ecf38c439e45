import type { AddressInfo } from 'node:net'
import type { Worker } from 'node:worker_threads'
import type { EngineClient, EngineLimits, EngineStats } from './engine/engine-client.js'
import type { HttpWorkerAnswer, HttpWorkerCall } from './http-worker-messages.js'
import { urlOf } from './listen/url-of.js'
import { errorFrom } from './port/error-message.js'

/** What a server needs of its engine. */
export interface ServedEngine extends EngineClient {
  /** Tokens that the caches hold. */
  readonly cacheTokens: number
  /** Bytes of the caches. */
  readonly cacheBytes: number
  /** Resolves with the reason when it has failed and takes no more requests. */
  readonly failed: Promise<unknown>
  /** Ends all requests with an EngineStoppedError, and frees what they hold. Stopping twice is allowed. */
  stop(): Promise<void>
}

/** A server that listens. `createServer` makes it. */
export class InferenceServer {
  readonly address: AddressInfo
  /** Resolves when the server is closed; rejects when the engine or the thread of HTTP has failed, after everything was closed. */
  readonly ended: Promise<void>
  readonly #worker: Worker
  readonly #engine: ServedEngine
  #closing: Promise<void> | undefined

  constructor(worker: Worker, engine: ServedEngine, address: AddressInfo) {
    this.address = address
    this.#worker = worker
    this.#engine = engine
    this.ended = this.#watch()
    // Whoever does not wait for the end hears of a failure through the requests.
    this.ended.catch(() => undefined)
  }

  /** Where clients find it, such as `http://127.0.0.1:8000`. */
  get url(): string {
    return urlOf(this.address)
  }

  /** What requests may ask for. */
  get limits(): EngineLimits {
    return this.#engine.limits
  }

  /** Tokens that the key/value caches hold, of all requests together. */
  get cacheTokens(): number {
    return this.#engine.cacheTokens
  }

  /** Bytes of the key/value caches. */
  get cacheBytes(): number {
    return this.#engine.cacheBytes
  }

  /** How the engine stands. */
  stats(): Promise<EngineStats> {
    return this.#engine.stats()
  }

  /**
   * Takes no more requests (503; `/health` says that it drains), lets those that run end, and closes. After the grace period what still runs ends
   * with an error.
   * @returns whether all of them ended by themselves
   */
  async drain(graceMilliseconds: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined
    const isOver = new Promise<false>((resolve) => {
      timer = setTimeout(resolve, graceMilliseconds, false)
    })
    const finished = await Promise.race([this.#ask('drain', 'idle'), isOver])
    clearTimeout(timer)
    await this.close()
    return finished
  }

  /** Ends what runs with an error and closes; the model stays. Closing twice is allowed. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    await this.#engine.stop()
    await this.#ask('close', 'closed')
    await this.#worker.terminate()
  }

  /** @returns whether the answer came; false where the thread is gone */
  #ask(call: HttpWorkerCall, type: HttpWorkerAnswer['type']): Promise<boolean> {
    return new Promise((resolve) => {
      this.#worker.on('message', (answer: HttpWorkerAnswer) => {
        if (answer.type === type) resolve(true)
      })
      this.ended.then(
        () => resolve(false),
        () => resolve(false),
      )
      this.#worker.postMessage(call)
    })
  }

  /** The thread's end, asked for or not. */
  #watch(): Promise<void> {
    return new Promise((resolve, reject) => {
      let failure: { readonly reason: unknown } | undefined
      this.#worker.on('error', (reason) => {
        failure ??= { reason }
      })
      void this.#engine.failed.then((reason) => {
        failure ??= { reason }
        return this.close()
      })
      this.#worker.on('exit', () => {
        if (this.#closing && !failure) return resolve()
        failure ??= { reason: new Error('the thread of HTTP ended by itself.') }
        const { reason } = failure
        this.#engine.stop().then(() => reject(reason), reject)
      })
    })
  }
}

/** Waits until the thread listens. @throws what kept it from that, of the same code; its own failure */
export function listening(worker: Worker): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    worker.once('message', (answer: HttpWorkerAnswer) => {
      if (answer.type === 'listening') resolve(answer.address)
      else if (answer.type === 'failed') reject(errorFrom(answer.error))
    })
    worker.once('error', reject)
    worker.once('exit', () => reject(new Error('the thread of HTTP ended before it listened.')))
  })
}
