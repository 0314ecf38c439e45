import { setImmediate as eventLoopTurn } from 'node:timers/promises'
import { attentionSpec, isPhsaError } from '@phsa/core'
import { InvalidInputError, PagedDecoder } from '@phsa/model'
import type { TextConstraint } from '../constrain/text-constraint.js'
import { BatchStep, type CollectStep } from './batch-step.js'
import { checkRequest } from './check-request.js'
import type { EngineAttention, EngineClient, EngineEvent, EngineLimits, EngineRequest, EngineStats } from './engine-client.js'
import { type CompleteEngineOptions, completeEngineOptions, type EngineOptions } from './engine-options.js'
import { EngineStoppedError } from './engine-stopped-error.js'
import { rootHash } from './page-hash.js'
import { PagePool } from './page-pool.js'
import { RequestRun } from './request-run.js'
import { type Chunk, Scheduler } from './scheduler.js'
import type { StepInput, StepOutput } from './step-input.js'
import { StepRecall } from './step-recall.js'

/** A step that is queued on the device. */
interface StepUnderWay {
  readonly chunks: readonly Chunk<RequestRun>[]
  readonly collect: CollectStep
}

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
  /** Left while steps were under way that compute something for them, which nobody is told. */
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
  /** Ends the wait of a loop whose requests are all held: others have come, or some have left. */
  #wake: () => void = () => undefined
  /** When the step before was done, or the first one began. */
  #since = 0
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
    const { model, attention, pages, pageTokens, maxSequences, stepTokens, promptTokens, limits, phsa, punctuation } = this.#options
    this.#pool = new PagePool(pages)
    const { maxWaiting } = limits
    this.#scheduler = new Scheduler({ pool: this.#pool, pageTokens, maxSequences, stepTokens, promptTokens, maxWaiting })
    this.#decoder = new PagedDecoder(model, { attention, pages, pageTokens })
    const usualTopK = limits.attention === 'dense' ? Math.min(phsa.topK, limits.maxTopK) : limits.attention.topK
    const { maxTopK, maxTokens: maxKeys } = limits
    this.#batchStep = new BatchStep(this.#decoder, { maxSequences, usualTopK, maxTopK, maxKeys }, punctuation)
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
    let run: RequestRun | undefined
    const end = (reason: unknown) => {
      run?.events.fail(reason)
      if (run) this.#remove(run)
    }
    const abort = () => end(signal?.reason)
    try {
      signal?.throwIfAborted()
      run = this.#submit(request, constraint)
      void constraint?.failed.then(end)
      signal?.addEventListener('abort', abort)
      for (;;) {
        const event = await run.events.next()
        yield event
        if (event.type === 'end') return
      }
    } finally {
      signal?.removeEventListener('abort', abort)
      if (run) this.#remove(run)
      constraint?.dispose()
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
    this.#wake()
    this.#loop ??= this.#runSteps()
    return run
  }

  async #runSteps(): Promise<void> {
    let ahead: StepUnderWay | undefined
    try {
      do {
        // Requests that arrive together start together, and other work of this thread gets its turn.
        await eventLoopTurn()
        ahead = await this.#step(ahead)
      } while (ahead || this.#scheduler.running.length + this.#scheduler.waiting.length > 0)
    } finally {
      this.#loop = undefined
    }
  }

  /**
   * Schedule, run, settle: of the step that is under way, or of a new one. Where the step after it can be queued before this one is done, it is, and the
   * device does not wait for this thread. Never rejects: what fails ends the streams.
   * @returns the step that is under way then
   */
  async #step(ahead: StepUnderWay | undefined): Promise<StepUnderWay | undefined> {
    const step = ahead ?? (await this.#start())
    if (!step) return undefined
    const next = await this.#startNext(step)
    this.#scheduler.hashPages(step.chunks)
    try {
      const outputs = await step.collect()
      // Of a sequence whose step before this one failed, the pages hold anything: nobody may find them.
      this.#scheduler.settle(step.chunks.filter(({ sequence }) => !this.#leaving.has(sequence)))
      for (const [index, chunk] of step.chunks.entries()) {
        if (!this.#leaving.has(chunk.sequence)) this.#settle(chunk, outputs[index])
      }
    } catch (error) {
      this.#failStep(step.chunks, error)
    }
    this.#endStep(next !== undefined)
    return next
  }

  async #start(): Promise<StepUnderWay | undefined> {
    this.#since = performance.now()
    const chunks = this.#scheduler.schedule()
    if (chunks.length === 0) {
      await this.#untilReady()
      return undefined
    }
    this.#isStepping = true
    try {
      return { chunks, collect: await this.#queue(chunks.map((chunk) => chunk.sequence.input(chunk))) }
    } catch (error) {
      this.#failStep(chunks, error)
      this.#endStep(false)
      return undefined
    }
  }

  /** Until one of the requests that run, all of them held, can go on, or there is something else to do. */
  async #untilReady(): Promise<void> {
    const { running } = this.#scheduler
    if (running.length === 0) return
    const changed = new Promise<void>((resolve) => {
      this.#wake = resolve
    })
    await Promise.race([changed, ...running.map(({ ready }) => ready)])
  }

  /** Queues the step after one that has not been taken in, unless somebody leaves, for whom nothing more is computed. */
  async #startNext({ chunks: before }: StepUnderWay): Promise<StepUnderWay | undefined> {
    if (this.#leaving.size > 0 || this.#options.model.backend.limits.blocking) return undefined
    const prompts = this.#scheduler.extendPrompts(before)
    const chunks = prompts ?? (this.#batchStep.canQueueNext && !this.#isRecallNext ? this.#scheduler.extend(before) : undefined)
    if (!chunks) return undefined
    try {
      if (prompts) return { chunks, collect: await this.#queue(prompts.map((chunk) => chunk.sequence.input(chunk))) }
      this.#decodingSteps++
      return { chunks, collect: this.#batchStep.queueNext(chunks.map(({ sequence }) => sequence.nextInput())) }
    } catch (error) {
      this.#failStep(chunks, error)
      return undefined
    }
  }

  #endStep(isNextUnderWay: boolean): void {
    const now = performance.now()
    this.#totals.steps++
    this.#totals.stepMilliseconds += now - this.#since
    this.#since = now
    // Also where the next step still writes to their pages: a device works in order, so whoever gets these writes after it.
    for (const run of this.#leaving) this.#scheduler.remove(run)
    if (isNextUnderWay) return
    this.#isStepping = false
    this.#leaving.clear()
  }

  /** Whether the recall of the next step of decoding is measured. */
  get #isRecallNext(): boolean {
    const { recallEvery } = this.#options
    return recallEvery > 0 && this.#decodingSteps % recallEvery === 0
  }

  async #queue(inputs: readonly StepInput[]): Promise<CollectStep> {
    if (!inputs.every(({ ids, following }) => ids.length === 1 && !following)) return this.#batchStep.queue(inputs)
    const recall = this.#isRecallNext ? new StepRecall(this.#decoder, inputs) : undefined
    this.#decodingSteps++
    if (!recall?.hasQueries) return this.#batchStep.queue(inputs)
    const collect = await this.#batchStep.queue(inputs, recall.watch)
    return async () => {
      const outputs = await collect()
      const value = await recall.value()
      if (value !== undefined) {
        this.#totals.recallSamples++
        this.#totals.recallSum += value
      }
      return outputs
    }
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
    this.#wake()
  }
}

function topKOf(attention: EngineAttention): number {
  return attention === 'dense' ? 0 : attention.topK
}
