import { setImmediate as eventLoopTurn } from 'node:timers/promises'
import { attentionSpec, isPhsaError } from '@phsa/core'
import { InvalidInputError, PagedDecoder } from '@phsa/model'
import type { TextConstraint } from '../constrain/text-constraint.js'
import { BatchStep, type StepInput, type StepOutput } from './batch-step.js'
import { checkRequest } from './check-request.js'
import type { EngineAttention, EngineClient, EngineEvent, EngineLimits, EngineRequest, EngineStats } from './engine-client.js'
import { type CompleteEngineOptions, completeEngineOptions, type EngineOptions } from './engine-options.js'
import { EngineStoppedError } from './engine-stopped-error.js'
import { rootHash } from './page-hash.js'
import { PagePool } from './page-pool.js'
import { RequestRun } from './request-run.js'
import { type Chunk, Scheduler } from './scheduler.js'
import { StepRecall } from './step-recall.js'

/**
 * Continues many prompts at once in steps over one paged cache: each step takes the next token of all that decode and parts of prompts, so that requests
 * come and go at any step. A request's tokens do not depend on what runs beside it where the backend computes rows independently (reference, tfjs).
 * Lives in the model's thread. Not created inside of a memory scope; `stop` frees it, the model stays.
 */
export class Engine implements EngineClient {
  readonly #options: CompleteEngineOptions
  readonly #pool: PagePool
  readonly #scheduler: Scheduler<RequestRun>
  readonly #decoder: PagedDecoder
  readonly #batchStep: BatchStep
  /** Left while a step was under way, which still writes their pages. */
  readonly #leaving = new Set<RequestRun>()
  readonly #totals = {
    promptTokens: 0,
    prefixHitTokens: 0,
    tokensMade: 0,
    steps: 0,
    activatedTokens: 0,
    visibleTokens: 0,
    recallSamples: 0,
    recallSum: 0,
    stepMilliseconds: 0,
  }
  #loop: Promise<void> | undefined
  #isStepping = false
  #decodingSteps = 0
  /** Why no more requests are taken. */
  #refusal: EngineStoppedError | undefined
  #isDisposed = false
  #tellFailure: (reason: unknown) => void = () => undefined
  /** Resolves with the reason when the engine has failed and takes no more requests. */
  readonly failed = new Promise<unknown>((resolve) => {
    this.#tellFailure = resolve
  })

  /** @throws InvalidInputError naming an option, UnsupportedError for a policy that does not work on caches, OutOfMemoryError */
  constructor(options: EngineOptions) {
    this.#options = completeEngineOptions(options)
    const { model, attention, pages, pageTokens, maxSequences, stepTokens, limits, phsa } = this.#options
    this.#pool = new PagePool(pages)
    this.#scheduler = new Scheduler({ pool: this.#pool, pageTokens, maxSequences, stepTokens, maxWaiting: limits.maxWaiting })
    this.#decoder = new PagedDecoder(model, { attention, pages, pageTokens })
    const usualTopK = limits.attention === 'dense' ? Math.min(phsa.topK, limits.maxTopK) : limits.attention.topK
    this.#batchStep = new BatchStep(this.#decoder, { maxSequences, usualTopK, maxTopK: limits.maxTopK })
    void model.backend.lost.then((error) => this.#fail(error))
  }

  get limits(): EngineLimits {
    return this.#options.limits
  }

  /** Tokens that the caches hold. */
  get cacheTokens(): number {
    return this.#options.pages * this.#options.pageTokens
  }

  /** Bytes of the caches. */
  get cacheBytes(): number {
    return this.#decoder.bytes
  }

  /** See `EngineClient`. Nothing is queued before the first event is asked for. */
  async *generate(request: EngineRequest, signal?: AbortSignal): AsyncGenerator<EngineEvent, void, undefined> {
    signal?.throwIfAborted()
    const constraint = request.grammar === undefined ? undefined : await this.#openConstraint(request.grammar, request.stopTokenIds)
    try {
      yield* this.#events(request, constraint, signal)
    } finally {
      constraint?.dispose()
    }
  }

  async *#events(request: EngineRequest, constraint: TextConstraint | undefined, signal: AbortSignal | undefined) {
    signal?.throwIfAborted()
    const run = this.#submit(request, constraint)
    void constraint?.failed.then((reason) => {
      run.events.fail(reason)
      this.#remove(run)
    })
    const abort = () => {
      run.events.fail(signal?.reason)
      this.#remove(run)
    }
    signal?.addEventListener('abort', abort)
    try {
      for (;;) {
        const event = await run.events.next()
        yield event
        if (event.type === 'end') return
      }
    } finally {
      signal?.removeEventListener('abort', abort)
      this.#remove(run)
    }
  }

  async stats(): Promise<EngineStats> {
    const { total, used, cached } = this.#pool.counts
    return {
      running: this.#scheduler.running.length,
      waiting: this.#scheduler.waiting.length,
      pagesTotal: total,
      pagesUsed: used,
      pagesCached: cached,
      preemptions: this.#scheduler.preemptions,
      ...this.#totals,
    }
  }

  /** Takes no more requests and waits until those that it has are done. */
  async drain(): Promise<void> {
    this.#refusal ??= new EngineStoppedError('the server is shutting down and takes no more requests; send them to another one.')
    await this.#loop
  }

  /** Ends what still runs with EngineStoppedError, and frees the caches. Stopping twice is allowed. */
  async stop(): Promise<void> {
    this.#fail(new EngineStoppedError('the server was stopped before the request was done; send it again to another one.'))
    await this.#loop
    if (this.#isDisposed) return
    this.#isDisposed = true
    this.#batchStep.dispose()
    this.#decoder.dispose()
  }

  /** Before the request is queued: compiling a grammar takes longer than a step. */
  async #openConstraint(grammar: string, stopTokenIds: readonly number[]): Promise<TextConstraint> {
    const { constraints } = this.#options
    if (!constraints)
      throw new InvalidInputError('the request has a grammar, but this engine follows none; leave it out, or give the engine constraints.')
    if (stopTokenIds.length === 0)
      throw new InvalidInputError('the request has a grammar, but no stopTokenIds to end its text with; give at least one.')
    return constraints.open(grammar, stopTokenIds)
  }

  #submit(request: EngineRequest, constraint: TextConstraint | undefined): RequestRun {
    if (this.#refusal) throw this.#refusal
    const { model, attention: choice, phsa } = this.#options
    const attention = checkRequest(request, this.limits)
    const { config, dtype } = model
    const spec = attentionSpec({ ...phsa, topK: topKOf(attention) }, { ...config, dtype })
    const run = new RequestRun({
      request,
      attention,
      spec: choice.policy.spec(spec),
      rootHash: rootHash({ policy: choice.policy.name, phsa, dtype, attention, salt: request.salt }),
      constraint,
    })
    this.#scheduler.add(run)
    this.#loop ??= this.#runSteps()
    return run
  }

  async #runSteps(): Promise<void> {
    try {
      do {
        // Requests that arrive together start together, and other work of this thread gets its turn.
        await eventLoopTurn()
        await this.#step()
      } while (this.#scheduler.running.length + this.#scheduler.waiting.length > 0)
    } finally {
      this.#loop = undefined
    }
  }

  /** Schedule, run, settle. Never rejects: what fails ends the streams. */
  async #step(): Promise<void> {
    const began = performance.now()
    const chunks = this.#scheduler.schedule()
    if (chunks.length === 0) return
    this.#isStepping = true
    try {
      const marks = (ids: Int32Array) => this.#options.punctuation?.marks(ids) ?? new Uint8Array(ids.length)
      const outputs = await this.#run(chunks.map((chunk) => chunk.sequence.input(chunk, marks)))
      this.#scheduler.settle(chunks)
      for (const [index, chunk] of chunks.entries()) {
        if (!this.#leaving.has(chunk.sequence)) this.#settle(chunk, outputs[index])
      }
    } catch (error) {
      this.#failStep(chunks, error)
    } finally {
      this.#isStepping = false
      for (const run of this.#leaving) this.#scheduler.remove(run)
      this.#leaving.clear()
      this.#totals.steps++
      this.#totals.stepMilliseconds += performance.now() - began
    }
  }

  async #run(inputs: readonly StepInput[]): Promise<StepOutput[]> {
    const { recallEvery } = this.#options
    const isDecoding = inputs.every(({ ids, following }) => ids.length === 1 && !following)
    if (recallEvery === 0 || !isDecoding || this.#decodingSteps++ % recallEvery > 0) return this.#batchStep.run(inputs)
    const recall = new StepRecall(this.#decoder, inputs)
    if (!recall.hasQueries) return this.#batchStep.run(inputs)
    const outputs = await this.#batchStep.run(inputs, recall.watch)
    const value = await recall.value()
    if (value !== undefined) {
      this.#totals.recallSamples++
      this.#totals.recallSum += value
    }
    return outputs
  }

  #settle(chunk: Chunk<RequestRun>, output: StepOutput): void {
    const run = chunk.sequence
    const made = run.made
    const isFirst = !run.isStarted
    const { activated, visible, ended } = run.take(chunk, output)
    if (isFirst && run.isStarted) {
      this.#totals.promptTokens += run.promptLength
      this.#totals.prefixHitTokens += run.cachedTokens
    }
    this.#totals.tokensMade += run.made - made
    this.#totals.activatedTokens += activated
    this.#totals.visibleTokens += visible
    if (ended) this.#leaving.add(run)
  }

  /** Out of memory costs the requests of the step; after anything else nothing can be trusted any more. */
  #failStep(chunks: readonly Chunk<RequestRun>[], error: unknown): void {
    if (!isPhsaError(error, 'out-of-memory')) {
      this.#fail(error)
      return
    }
    for (const { sequence } of chunks) {
      sequence.events.fail(error)
      this.#leaving.add(sequence)
    }
  }

  /** Ends all streams with the reason, for good. */
  #fail(reason: unknown): void {
    const message = reason instanceof Error ? reason.message : String(reason)
    if (reason instanceof EngineStoppedError) this.#refusal = reason
    else {
      this.#refusal = new EngineStoppedError(`the engine has failed and takes no more requests: ${message}`, { cause: reason })
      this.#tellFailure(reason)
    }
    for (const run of [...this.#scheduler.running, ...this.#scheduler.waiting]) {
      run.events.fail(reason)
      this.#remove(run)
    }
  }

  #remove(run: RequestRun): void {
    if (this.#isStepping) this.#leaving.add(run)
    else this.#scheduler.remove(run)
  }
}

function topKOf(attention: EngineAttention): number {
  return attention === 'dense' ? 0 : attention.topK
}
