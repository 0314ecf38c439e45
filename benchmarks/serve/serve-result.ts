import type { TensorCheck } from '@phsa/core/testing'
import type { Timing } from '../attention/device-result.js'
import type { ServeRowPlan } from './serve-plan.js'

/** Decoding with all streams of a row under way. Plain JSON. */
export interface DecodeFigures {
  /** Tokens that came to the client in the window: from where the last stream has warmed up to where the first one ends. */
  readonly tokens: number
  /** Length of the window by the client's clock. */
  readonly milliseconds: number
  readonly tokensPerSecond: number
  /** From one replay of the recorded step to the next, on the engine's thread; absent where nothing is recorded, like what follows. */
  readonly step?: Timing
  /** Of a replay, by the GPU's clock. */
  readonly device?: Timing
  /** From the arrival of a step's tokens to the end of the call that queues the next one; 0 where that was queued before. */
  readonly host?: Timing
  /** By the GPU's clock from the end of one replay to the beginning of the next. */
  readonly idle?: Timing
}

/** What was measured of one row. Plain JSON. */
export interface ServeFigures {
  /** Milliseconds from a request to its first token, one request at a time, each of another prompt; only with one stream. */
  readonly firstToken?: Timing
  /** The same of the row's streams, which begin together: in their order. */
  readonly firstTokens: readonly number[]
  readonly decode: DecodeFigures
  /** Bytes that a step in the middle of the window must read: all weights once, and the keys, values and representatives that its queries see. */
  readonly stepBytes: number
  /** Times that pages ran out; 0, or the row says nothing. */
  readonly preemptions: number
}

/** One row. Plain JSON. */
export type ServeRow = ServeRowPlan &
  (({ readonly outcome: 'measured' } & ServeFigures) | { readonly outcome: 'failed' | 'left-out'; readonly reason: string })

/** One request, run twice: how much of it is the same. Plain JSON. */
export interface SameRequest {
  /** What the second run was, beside the first one alone; `ahead`: the same without log-probabilities, which are compared with none then. */
  readonly beside: 'alone' | 'batch' | 'cached' | 'ahead'
  readonly temperature: number
  /** Streams of the second run. */
  readonly batch: number
  readonly tokens: number
  /** Tokens before the first that is another one. */
  readonly equalTokens: number
  /** Among these, log-probabilities of the same bits; and the largest difference. */
  readonly equalLogprobs: number
  readonly largestDifference: number
}

/** What the server's tokens are next to the model without it. Plain JSON. */
export interface ServeGate {
  /** Greedy tokens, and how many of them `generate` of @phsa/model makes too before the first other one; information where sums round otherwise. */
  readonly tokens: number
  readonly equalTokens: Readonly<Record<string, number>>
  /** Mean differences of log-probabilities, also where no bound holds: where not every block is chosen. */
  readonly differences: Readonly<Record<string, number>>
  readonly checks: readonly TensorCheck[]
}

/** What `bench-serve` writes. Plain JSON. */
export interface ServeResult {
  readonly format: 'phsa-serve/1'
  readonly createdAt: string
  readonly commit?: string
  readonly device: string
  readonly parameters: number
  readonly weightBytes: number
  /** Bytes a second of a copy within the GPU's memory, read and written. */
  readonly copyBytes: number
  readonly cacheBytes: number
  readonly topK: number
  /** Tokens in one step of the server. */
  readonly stepTokens: number
  readonly promptTokens?: number
  readonly gate?: ServeGate
  readonly same: readonly SameRequest[]
  readonly rows: readonly ServeRow[]
}
