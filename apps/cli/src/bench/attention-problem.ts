import { type AttentionBackend, type AttentionSpec, type Layout, type Tensor, type TokenWeights, uploadLayout } from '@phsa/core'
import type { AttentionCase, AttentionInputs } from '@phsa/core/testing'

/** An attention problem on a backend, all of one sequence. */
export interface AttentionProblem {
  /** [Tq, Hq, D] */
  readonly q: Tensor
  /** [Tk, Hkv, D] */
  readonly k: Tensor
  readonly v: Tensor
  /** [Tq, Hq, D] */
  readonly dOut: Tensor
  readonly weights: TokenWeights
  readonly layout: Layout
  readonly spec: AttentionSpec
}

/**
 * The problem as data. Queries and keys are independent random numbers, the hardest case: neighbouring queries share no more blocks than
 * chance has it.
 */
export function attentionCase(spec: AttentionSpec, length: number): AttentionCase {
  return { name: `bench-${length}`, spec, keyLengths: [length], lambda: 0.5, inputs: 'normal', seed: 1, dtypes: ['f32'], checks: [] }
}

/** Uploads the inputs in the spec's element type. Inside of a scope, or the caller disposes every tensor. */
export function uploadProblem({ memory }: AttentionBackend, inputs: AttentionInputs, spec: AttentionSpec): AttentionProblem {
  const { q, k, v, dOut, layout, weights } = inputs
  if (weights.kind !== 'fused') throw new TypeError('a lambda of one number makes fused weights')
  const rows = (data: Float32Array, count: number, heads: number) =>
    memory.upload(spec.dtype === 'f64' ? Float64Array.from(data) : data, [count, heads, spec.headDim], spec.dtype)
  return {
    q: rows(q, layout.totalQueries, spec.heads),
    k: rows(k, layout.totalTokens, spec.kvHeads),
    v: rows(v, layout.totalTokens, spec.kvHeads),
    dOut: rows(dOut, layout.totalQueries, spec.heads),
    weights: { kind: 'fused', weights: memory.upload(weights.weights, [layout.totalTokens]) },
    layout: uploadLayout(memory, layout),
    spec,
  }
}
