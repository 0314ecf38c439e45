import type { PhsaConfig } from '@phsa/core'
import type { DecoderConfig } from '@phsa/model'
import type { PassageMap } from './passage-map.js'

/** One training step as log.jsonl and the loss curve have it. */
export interface LossPoint {
  readonly step: number
  readonly tokens: number
  /** Mean next-token cross-entropy, nats. */
  readonly loss: number
  /** Absent while training is dense. */
  readonly distillationLoss?: number
  readonly sparse: boolean
}

/** One selection policy at one budget, on text that training has not seen. */
export interface ComparisonRow {
  readonly policy: string
  readonly topK: number
  /** Share of the dense attention probability that falls on visible keys, 0 to 1 (spec 9). */
  readonly recall: number
  readonly perplexity: number
}

/** What a context length costs under the paper's parameters, from core's accounting. */
export interface CostRow {
  readonly length: number
  readonly topK: number
  /** A, tokens that a query sees at most. */
  readonly activated: number
  /** 1 - A / L */
  readonly sparsity: number
  /** Share of the FLOPs of dense causal attention that remain, scoring counted. */
  readonly flopShare: number
}

/** Everything that `phsa demo` found; results.json is this, the report draws it. */
export interface DemoResults {
  readonly createdAt: string
  readonly machine: { readonly node: string; readonly cores: number; readonly backend: string; readonly device: string }
  readonly model: DecoderConfig
  readonly parameters: number
  readonly phsa: PhsaConfig
  readonly seed: number
  readonly training: {
    readonly steps: number
    readonly sequenceTokens: number
    readonly seconds: number
    readonly tokensPerSecond: number
    readonly points: readonly LossPoint[]
  }
  readonly evaluation: { readonly sequences: number; readonly sequenceTokens: number }
  readonly densePerplexity: number
  readonly comparison: readonly ComparisonRow[]
  readonly sample: { readonly prompt: string; readonly sparse: string; readonly dense: string; readonly topK: number }
  readonly passage: PassageMap
  readonly costs: readonly CostRow[]
}
