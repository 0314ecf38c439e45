import type { AttentionSpec } from '@phsa/core'
import type { TensorCheck } from '@phsa/core/testing'
import type { Timing } from '../attention/device-result.js'

/** `measured`: every check held, then it was timed; `wrong`: a check failed; `failed`: an error; `left-out`: the time was over. */
export type Outcome = 'measured' | 'wrong' | 'failed' | 'left-out'

/** A product of two square matrices. Plain JSON. */
export interface ProductRow {
  readonly engine: 'webgpu' | 'cuda' | 'tfjs-webgpu'
  readonly dtype: 'f32' | 'f16' | 'bf16'
  readonly size: number
  readonly outcome: Outcome
  readonly reason?: string
  readonly check?: TensorCheck
  readonly time?: Timing
  /** FLOP/s, a multiplication and an addition counting two. */
  readonly flops?: number
}

/** What is timed of attention: `forward` is pool, select and attend in a row, `both` the backward pass of attention besides. */
export type AttentionPart = 'pool' | 'select' | 'attend' | 'backward' | 'forward' | 'both'

/** Attention of one layer on one sequence. Plain JSON. */
export interface AttentionRow {
  readonly engine: 'webgpu' | 'cuda'
  readonly length: number
  readonly attention: 'phsa' | 'dense'
  readonly spec: AttentionSpec
  readonly outcome: Outcome
  readonly reason?: string
  readonly gate?: { readonly checks: number; readonly worst: TensorCheck; readonly failed: readonly TensorCheck[] }
  /** Share of a query's blocks that the query before it chose too. */
  readonly overlap?: number
  readonly times?: Partial<Record<AttentionPart, Timing>>
  /** FLOPs of the parts, scoring included, by core's account. */
  readonly flops?: Partial<Record<AttentionPart, number>>
}

/** A model of the Qwen3-0.6B shape. Plain JSON. */
export interface ModelRow {
  readonly engine: 'webgpu' | 'cuda'
  readonly dtype: 'f32' | 'f16' | 'bf16'
  /** `prefill`: the logits of a prompt's last token; `decode`: one more token, greedily, until its id is on the host. */
  readonly what: 'prefill' | 'decode'
  readonly attention: 'phsa' | 'dense'
  readonly length: number
  readonly sequences: number
  readonly outcome: Outcome
  readonly reason?: string
  readonly time?: Timing
  readonly tokensPerSecond?: number
}

/** What `bench-webgpu` writes. Plain JSON. */
export interface WebgpuResult {
  readonly format: 'phsa-webgpu/1'
  readonly createdAt: string
  readonly commit?: string
  /** The adapter in words. */
  readonly device: string
  /** The GPU as CUDA calls it, where there is CUDA. */
  readonly cuda?: string
  readonly dawnFlags: readonly string[]
  /** Cases of the conformance suite before anything is timed. */
  readonly conformance: { readonly passed: number; readonly failed: readonly string[] }
  readonly products: readonly ProductRow[]
  readonly attention: readonly AttentionRow[]
  /** Comparisons of a small model with the reference, before the model is timed. */
  readonly modelGate: readonly TensorCheck[]
  readonly model: readonly ModelRow[]
}
