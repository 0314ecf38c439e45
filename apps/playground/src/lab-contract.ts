import type { PhsaConfig } from '@phsa/core'

/** Ways to choose blocks that the page compares, in its order: exact attention mass first, which the others try to guess (spec 8). */
export const METHODS = ['oracle', 'phsa', 'mean-pool', 'infllm-v2'] as const
/** One of `METHODS`, by the name of its policy. */
export type Method = (typeof METHODS)[number]

/** What the sliders set; the other parameters of PHSA are the model's. */
export type AttentionSettings = Pick<PhsaConfig, 'blockSize' | 'initTokens' | 'localTokens' | 'topK'> & { readonly lambda: number }

/** Where the worker computes: on the visitor's GPU, or on the CPU. */
export type Place = 'webgpu' | 'wasm'

/** What is being loaded or computed. `done` and `total` are bytes or layers; 0 where there is nothing to count. */
export interface Progress {
  readonly stage: 'model' | 'device' | 'tokens' | 'layers'
  readonly done: number
  readonly total: number
}

/** The model and the device, once both are there. */
export interface LabDescription {
  readonly place: Place
  /** In the device's own words. */
  readonly device: string
  readonly parameters: number
  readonly layers: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly maxPositions: number
  /** As the model was saved. */
  readonly phsa: PhsaConfig
}

/** A text as the model reads it. */
export interface DocumentTokens {
  /** Text of each token; empty where a character goes on in the next one. Joined, they are the text. */
  readonly texts: readonly string[]
  /** One byte a token, 1 for punctuation (spec 2). */
  readonly punctuation: Uint8Array
  /** Tokens of the whole text; more than `texts` where it was cut to what was asked for. */
  readonly total: number
}

/** The token, layer and head whose attention is asked for. */
export interface LookBackQuestion {
  readonly settings: AttentionSettings
  /** Position in the document. */
  readonly query: number
  readonly layer: number
}

/** Blocks that one method chose for a query, ascending, and the share of the exact attention that falls on all that it sees (spec 9). */
export interface MethodChoice {
  readonly blocks: readonly number[]
  readonly recall: number
}

/** What one key/value head of a layer looks back at. */
export interface HeadLookBack {
  /** Share of the exact attention on each block up to the query's; they sum to 1. */
  readonly mass: Float32Array
  readonly choices: Readonly<Record<Method, MethodChoice>>
}

/** Recall of one method at one budget, averaged over queries and heads of a layer (spec 9). */
export interface RecallPoint {
  readonly method: Method
  readonly topK: number
  readonly recall: number
}

/** Time of one call of attention, one layer, milliseconds; dense is left out where it was not asked for. */
export interface TimedLength {
  readonly length: number
  readonly sparse: number
  readonly dense: number | undefined
}

/** What the page asks its worker, which works on one call after the other. */
export interface Lab {
  /** @param place insists on a device @throws where there is no model at the address, or no device */
  open(modelAddress: string, place: Place | undefined, onProgress: (progress: Progress) => void): Promise<LabDescription>
  /** Tokenizes a text and runs the model over its first tokens; what follows is asked of this text. */
  read(text: string, maxTokens: number, onProgress: (progress: Progress) => void): Promise<DocumentTokens>
  /** @returns one a key/value head */
  lookBack(question: LookBackQuestion): Promise<HeadLookBack[]>
  /** Recall of all methods at all budgets, on one layer. */
  measureRecall(settings: AttentionSettings, layer: number): Promise<RecallPoint[]>
  /** Times one layer's attention. @param withDense false leaves dense attention out */
  time(settings: AttentionSettings, length: number, withDense: boolean): Promise<TimedLength>
}
