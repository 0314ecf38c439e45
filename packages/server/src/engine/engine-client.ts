import type { AttentionSpec } from '@phsa/core'

/** How a token is drawn from its logits. All fields are given; the neutral values are in brackets. Plain data. */
export interface EngineSampling {
  /** Logits are divided by it; 0 takes the likeliest token (1). */
  readonly temperature: number
  /** Share of the mass that is kept, above 0 to 1 (1). */
  readonly topP: number
  /** Likeliest tokens that are kept; 0 for all (0). */
  readonly topK: number
  /** Least share of the largest probability, 0 to 1 (0). */
  readonly minP: number
  /** Integer from 0 to 2^32 - 1: the same seed draws the same tokens. */
  readonly seed: number
  /** Of tokens in prompt and text, above 0 (1). */
  readonly repetitionPenalty: number
  /** Subtracted once from the logits of tokens in the text so far (0). */
  readonly presencePenalty: number
  /** Subtracted for each time that a token is in the text so far (0). */
  readonly frequencyPenalty: number
  /** Pairs of token id and what is added to its logit (empty). */
  readonly logitBias: readonly (readonly [id: number, bias: number])[]
}

/** How a request attends: all earlier keys, or PHSA with so many chosen blocks for each query (spec 1). */
export type EngineAttention = 'dense' | { readonly topK: number }

/** What to continue and how. Plain data: it crosses a thread boundary. */
export interface EngineRequest {
  readonly prompt: Int32Array
  /** Most tokens to make, at least 1; with the prompt at most `limits.maxTokens`. */
  readonly maxTokens: number
  readonly sampling: EngineSampling
  /** How many of the likeliest tokens are told beside each token's own log-probability; undefined: no log-probabilities. */
  readonly logprobs?: number
  /** Whether the log-probabilities of the prompt's tokens are told, with `logprobs` of the likeliest beside each. */
  readonly promptLogprobs?: boolean
  /** Default: the server's. */
  readonly attention?: EngineAttention
  /** Ids that end the text. They are not given out. */
  readonly stopTokenIds: readonly number[]
  /** EBNF of whole texts, rule `root`: only such a text is made, and ended by one of `stopTokenIds`. `maxTokens` and `stopTokenIds` in the text cut it. */
  readonly grammar?: string
  /** Requests share cached prompts only with those of the same salt: one for each API key. */
  readonly salt: string
}

/** Natural logarithms of probabilities: before temperature and cuts, after nothing; a token's own and the likeliest, by falling probability. */
export interface TokenLogprob {
  readonly logprob: number
  readonly top: readonly (readonly [id: number, logprob: number])[]
}

/** The one of `stopTokenIds` that ended a text whose log-probabilities are told. */
export interface StopToken extends TokenLogprob {
  readonly id: number
}

/** Tokens of a request, by what it cost. */
export interface EngineUsage {
  readonly promptTokens: number
  /** Prompt tokens whose keys were there already. */
  readonly cachedTokens: number
  readonly completionTokens: number
  /** Keys that queries of the request attended to, summed over its computed positions, for one query head of a sparse layer (spec 5). */
  readonly activatedTokens: number
  /** The same for dense attention: 1 - activatedTokens / visibleTokens is the sparsity. */
  readonly visibleTokens: number
}

/** What a stream gives: one `started`, a `token` each, one `end`. */
export type EngineEvent =
  | {
      readonly type: 'started'
      readonly cachedTokens: number
      /** Until its first step. */
      readonly queuedMilliseconds: number
      readonly promptLogprobs?: readonly (TokenLogprob | null)[]
    }
  | { readonly type: 'token'; readonly id: number; readonly logprob?: number; readonly top?: TokenLogprob['top'] }
  | { readonly type: 'end'; readonly reason: 'stop' | 'length'; readonly usage: EngineUsage; readonly stopToken?: StopToken }

/** What requests may ask for. Plain data. */
export interface EngineLimits {
  /** Tokens of prompt and text together. */
  readonly maxTokens: number
  readonly vocabSize: number
  /** Largest topK of `EngineAttention`. */
  readonly maxTopK: number
  readonly minTopK: number
  /** What a request without `attention` gets. */
  readonly attention: EngineAttention
  /** Whether requests may ask for `'dense'`. */
  readonly dense: boolean
  /** Most of `EngineRequest.logprobs`. */
  readonly maxLogprobs: number
  /** Requests that wait before more are refused. */
  readonly maxWaiting: number
  /** Of a sparse layer, whatever its topK: for counting the keys of a text that was cut short, see `countVisible`. */
  readonly spec: AttentionSpec
}

/** How an engine stands. Plain data; counters grow from its start. */
export interface EngineStats {
  readonly running: number
  readonly waiting: number
  readonly pagesTotal: number
  /** Pages that requests hold. */
  readonly pagesUsed: number
  /** Free pages whose contents may still be found. */
  readonly pagesCached: number
  readonly promptTokens: number
  readonly prefixHitTokens: number
  readonly tokensMade: number
  readonly steps: number
  readonly preemptions: number
  readonly activatedTokens: number
  readonly visibleTokens: number
  /** Steps of which the recall was measured, see `EngineOptions.recallEvery`, and the sum of their recalls, 0 to 1 each (spec 9). */
  readonly recallSamples: number
  readonly recallSum: number
  /** Time that all steps took. */
  readonly stepMilliseconds: number
}

/**
 * The seam between requests and the model's thread. `Engine` implements it where the model lives, a port client in any other thread.
 */
export interface EngineClient {
  readonly limits: EngineLimits

  /**
   * Continues a prompt. Leaving the loop early, or the signal, frees what it holds at the end of the step under way; one that is queued already is its last.
   * Before the first event it throws QueueFullError (429), InvalidInputError (400), EngineStoppedError (503); later the reason that ended the engine,
   * or the signal's.
   */
  generate(request: EngineRequest, signal?: AbortSignal): AsyncIterable<EngineEvent>

  stats(): Promise<EngineStats>
}
