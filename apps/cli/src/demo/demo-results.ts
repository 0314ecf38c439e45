import type { PhsaConfig } from '@phsa/core'
import type { DecoderConfig } from '@phsa/model'
import type { Machine } from '../machine.js'

/** One way to attend: what it costs, how well it predicts the document, and how it goes on. */
export interface DemoRow {
  readonly policy: 'dense' | 'mean-pool' | 'phsa'
  /** A, tokens that a query sees at most; for dense the whole document. */
  readonly activatedTokens: number
  /** 1 - A / L */
  readonly sparsity: number
  /** Of every token of the document given those before it, with this policy in every layer. */
  readonly perplexity: number
  /** From the start to the first new token. */
  readonly promptSeconds: number
  /** Median of the new tokens after the first. */
  readonly tokenSeconds: number
  /** What it wrote. */
  readonly text: string
}

/** Everything that `phsa demo` found. Plain JSON. */
export interface DemoResults {
  readonly format: 'phsa-demo/1'
  readonly createdAt: string
  readonly version: string
  readonly machine: Machine
  /** Runnable processes over the last minute, before and after. */
  readonly load: readonly [before: number, after: number]
  readonly backend: string
  readonly device: string
  readonly model: DecoderConfig
  readonly parameters: number
  readonly dtype: string
  readonly phsa: PhsaConfig
  readonly document: {
    readonly title: string
    /** Scored; all but the last `newTokens` are the prompt. */
    readonly tokens: number
    readonly newTokens: number
    /** The last words of the prompt. */
    readonly promptEnd: string
    /** What the author wrote where the model writes. */
    readonly continuation: string
  }
  readonly seed: number
  readonly rows: readonly DemoRow[]
}
