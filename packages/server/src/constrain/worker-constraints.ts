import { Worker } from 'node:worker_threads'
import { QueueFullError } from '../engine/queue-full-error.js'
import { errorFrom } from '../port/error-message.js'
import { threadScript } from '../thread-script.js'
import type { ConstraintAnswer, ConstraintCall, ConstraintWorkerData } from './constraint-messages.js'
import { MOST_OPENING, type TextConstraint, type TextConstraints } from './text-constraint.js'

/** Constraints in a thread of their own, so that the engine never waits for a grammar. The thread starts with the first of them. */
export class WorkerConstraints implements TextConstraints {
  readonly #data: ConstraintWorkerData
  readonly #texts = new Map<number, WorkerConstraint>()
  #worker: Worker | undefined
  #next = 0
  #opening = 0

  constructor(data: ConstraintWorkerData) {
    this.#data = data
  }

  async open(grammar: string, stopTokenIds: readonly number[]): Promise<TextConstraint> {
    if (this.#opening >= MOST_OPENING) {
      throw new QueueFullError(`${MOST_OPENING} requests with a response_format are being prepared, as many as may; try again later.`)
    }
    this.#worker ??= this.#start()
    const text = this.#next++
    const constraint = new WorkerConstraint((call) => this.#send({ ...call, text }))
    this.#texts.set(text, constraint)
    this.#send({ type: 'open', text, grammar, stopTokenIds })
    this.#opening++
    try {
      await constraint.opened
      return constraint
    } catch (error) {
      this.#texts.delete(text)
      throw error
    } finally {
      this.#opening--
    }
  }

  /** Ends the thread; open constraints fail. Closing twice is allowed. */
  async close(): Promise<void> {
    await this.#worker?.terminate()
  }

  #start(): Worker {
    const worker = new Worker(threadScript('./constraint-worker', import.meta.url), { workerData: this.#data })
    const end = (reason: Error) => {
      // A thread exits after its error: by then another may have started, whose texts are not its own.
      if (this.#worker !== worker) return
      this.#worker = undefined
      for (const constraint of this.#texts.values()) constraint.fail(reason)
      this.#texts.clear()
    }
    worker.on('message', (answer: ConstraintAnswer) => this.#receive(answer))
    worker.on('error', end)
    worker.on('exit', () => end(new Error('the thread of grammars has ended.')))
    worker.unref()
    return worker
  }

  #send(call: ConstraintCall): void {
    if (call.type === 'close') this.#texts.delete(call.text)
    this.#worker?.postMessage(call)
  }

  #receive(answer: ConstraintAnswer): void {
    const constraint = this.#texts.get(answer.text)
    if ('error' in answer) constraint?.fail(errorFrom(answer.error))
    else constraint?.know(answer.allowed)
  }
}

type TextCall = { readonly type: 'accept'; readonly id: number } | { readonly type: 'close' }

class WorkerConstraint implements TextConstraint {
  readonly #send: (call: TextCall) => void
  #allowed: Int32Array | undefined
  #isOpen = true
  #known = Promise.resolve()
  #know: () => void = () => undefined
  #fail: (reason: Error) => void = () => undefined
  readonly failed = new Promise<Error>((resolve) => {
    this.#fail = resolve
  })
  /** Resolves when the first tokens are known, rejects where none ever will be. */
  readonly opened: Promise<void>

  constructor(send: (call: TextCall) => void) {
    this.#send = send
    this.#awaitKnown()
    this.opened = Promise.race([this.#known, this.failed.then((reason) => Promise.reject(reason))])
  }

  get allowed(): Int32Array | undefined {
    return this.#allowed
  }

  get known(): Promise<void> {
    return this.#known
  }

  accept(id: number): void {
    this.#awaitKnown()
    this.#send({ type: 'accept', id })
  }

  dispose(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#send({ type: 'close' })
  }

  know(allowed: Int32Array): void {
    this.#allowed = allowed
    this.#know()
  }

  fail(reason: Error): void {
    this.#fail(reason)
  }

  #awaitKnown(): void {
    this.#allowed = undefined
    this.#known = new Promise((resolve) => {
      this.#know = resolve
    })
  }
}
