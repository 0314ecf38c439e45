import { type AttentionSpec, RandomStream } from '@phsa/core'
import type { TextConstraint } from '../constrain/text-constraint.js'
import { EventQueue } from '../port/event-queue.js'
import type { EngineAttention, EngineEvent, EngineRequest, StopToken, TokenLogprob } from './engine-client.js'
import { LogitAdjustments } from './logit-adjustments.js'
import type { Chunk } from './scheduler.js'
import { Sequence } from './sequence.js'
import { DENSE_THROUGHOUT } from './step-arrays.js'
import type { NextInput, StepDraw, StepInput, StepOutput } from './step-input.js'
import { countVisible } from './visible-count.js'

/** How a request runs: what the engine worked out of it. */
export interface RunOptions {
  readonly request: EngineRequest
  readonly attention: EngineAttention
  /** Of a sparse layer, with the request's own topK and denseBelow. */
  readonly spec: AttentionSpec
  readonly rootHash: string
  /** What its grammar allows next; undefined where it has none. */
  readonly constraint: TextConstraint | undefined
}

/** A request on its way: its draws, what it cost, and the events for whoever asked. */
export class RequestRun extends Sequence {
  readonly events = new EventQueue<EngineEvent>(Number.POSITIVE_INFINITY, () => new Error('a stream without a bound is full'))
  readonly #request: EngineRequest
  readonly #spec: AttentionSpec
  readonly #isDense: boolean
  readonly #random: RandomStream
  readonly #adjustments: LogitAdjustments
  /** As far as they are known; the first token has none. */
  #promptLogprobs: (TokenLogprob | null)[] = []
  #isStarted = false
  readonly #arrivedAt = performance.now()
  #queuedMilliseconds: number | undefined
  #cachedTokens = 0
  /** Positions before it are counted in the usage, or were cached; a second computation costs the asker nothing. */
  #countedTo: number | undefined
  #activatedTokens = 0
  #visibleTokens = 0

  constructor({ request, attention, spec, rootHash, constraint }: RunOptions) {
    super({ prompt: request.prompt, maxTokens: request.maxTokens, rootHash, computesAll: request.promptLogprobs })
    this.#request = request
    this.#spec = spec
    this.#isDense = attention === 'dense'
    this.#random = new RandomStream(request.sampling.seed)
    this.#adjustments = new LogitAdjustments(request.sampling, request.prompt, constraint)
  }

  /** Whether its first event was told. */
  get isStarted(): boolean {
    return this.#isStarted
  }

  override get isHeld(): boolean {
    return this.#adjustments.isPending
  }

  /** Resolves when it is held no longer, or never. */
  get ready(): Promise<void> {
    return this.#adjustments.known
  }

  /** Prompt tokens that were cached when it started. */
  get cachedTokens(): number {
    return this.#cachedTokens
  }

  /** What a step needs to know of its chunk. Draws a random number where the chunk gives a token. */
  input({ start, count }: Chunk): StepInput {
    this.#queuedMilliseconds ??= performance.now() - this.#arrivedAt
    const ids = new Int32Array(this.tokens.slice(start, start + count))
    return {
      ids,
      start,
      pages: this.pages,
      topK: this.#isDense ? 0 : this.#spec.topK,
      denseBelow: this.#isDense ? DENSE_THROUGHOUT : this.#spec.denseBelow,
      draw: start + count === this.tokens.length ? this.#draw() : undefined,
      following: this.#wantedFollowing(start, count),
    }
  }

  /** What a step needs to know that takes the token which the step before draws. Draws a random number. */
  nextInput(): NextInput {
    return { pages: this.pages, draw: this.#draw() }
  }

  /**
   * Takes in what a step gave, and tells it.
   * @returns keys that were seen, each position once
   */
  take({ start, count }: Chunk, output: StepOutput): { readonly activated: number; readonly visible: number; readonly ended: boolean } {
    if (this.#countedTo === undefined) {
      this.#countedTo = start
      this.#cachedTokens = start
    }
    const seen = countVisible(this.#spec, this.#countedTo, start + count)
    this.#countedTo = Math.max(this.#countedTo, start + count)
    this.#activatedTokens += this.#isDense ? seen.visible : seen.activated
    this.#visibleTokens += seen.visible
    this.#takeFollowing(start, output.following)
    this.#start()
    const ended = output.id !== undefined && this.#takeToken(output.id, output.logprob)
    return { activated: this.#isDense ? seen.visible : seen.activated, visible: seen.visible, ended }
  }

  #draw(): StepDraw {
    const { temperature, topK, topP, minP } = this.#request.sampling
    // 24 bits: more would round up to 1 in f32. The same numbers as `generate` of @phsa/model draws. The likeliest token needs none.
    const uniform = temperature === 0 ? 0 : (this.#random.integer() >>> 8) / 2 ** 24
    return { control: [temperature, topK, topP, minP, uniform], adjustments: this.#adjustments, logprobs: this.#request.logprobs }
  }

  #wantedFollowing(start: number, count: number): StepInput['following'] {
    // Known since before it was pushed out.
    if (!this.#request.promptLogprobs || this.usesCache) return undefined
    const ids = new Int32Array(this.tokens.slice(start + 1, Math.min(start + count + 1, this.promptLength)))
    return { ids, top: this.#request.logprobs ?? 0 }
  }

  #takeFollowing(start: number, following: readonly TokenLogprob[]): void {
    if (!this.#request.promptLogprobs || this.usesCache) return
    this.#promptLogprobs = start === 0 ? [null, ...following] : [...this.#promptLogprobs, ...following]
    if (this.#promptLogprobs.length === this.promptLength) this.usesCache = true
  }

  #start(): void {
    if (this.#isStarted || (this.#request.promptLogprobs && !this.usesCache)) return
    this.#isStarted = true
    const promptLogprobs = this.#request.promptLogprobs ? { promptLogprobs: this.#promptLogprobs } : {}
    const queuedMilliseconds = this.#queuedMilliseconds ?? 0
    this.events.push({ type: 'started', cachedTokens: this.#cachedTokens, queuedMilliseconds, ...promptLogprobs })
  }

  /** @returns whether it was the last */
  #takeToken(id: number, logprob: TokenLogprob | undefined): boolean {
    if (this.#request.stopTokenIds.includes(id)) return this.#end('stop', logprob && { id, ...logprob })
    this.tokens.push(id)
    this.events.push({ type: 'token', id, ...logprob })
    if (this.made === this.maxTokens) return this.#end('length')
    this.#adjustments.note(id)
    return false
  }

  #end(reason: 'stop' | 'length', stopToken?: StopToken): true {
    this.events.push({
      type: 'end',
      reason,
      ...(stopToken && { stopToken }),
      usage: {
        promptTokens: this.promptLength,
        cachedTokens: this.#cachedTokens,
        completionTokens: this.made,
        activatedTokens: this.#activatedTokens,
        visibleTokens: this.#visibleTokens,
      },
    })
    return true
  }
}
