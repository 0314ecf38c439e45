import type { AttendGradients, AttendOutput } from './contract/attention.js'
import type { AttentionBackend } from './contract/attention-backend.js'
import type { Tensor } from './contract/tensor.js'
import { type PolicyInput, phsaPolicy, type SelectionPolicy } from './selection-policy.js'

/** What one attention reads: queries, keys and values of packed sequences, token weights, layout and spec (spec 1). */
export interface PhsaAttentionInput extends PolicyInput {
  /** [Tk, Hkv, D] */
  readonly v: Tensor
}

/** What the backward pass needs again. */
export interface PhsaAttentionOutput extends AttendOutput {
  /** i32 [Hkv, Tq, topK] */
  readonly selected: Tensor
}

/**
 * PHSA attention: pool, select, attend (spec 3 to 5). `input.spec` is the PHSA specification; the policy derives its own from it,
 * and `input.weights` are those of the policy's configuration.
 */
export function phsaAttention(
  backend: AttentionBackend,
  input: PhsaAttentionInput,
  policy: SelectionPolicy = phsaPolicy,
): PhsaAttentionOutput {
  const { q, k, v, layout } = input
  const spec = policy.spec(input.spec)
  return backend.memory.scope(() => {
    const selected = policy.select(backend, { ...input, spec })
    const { out, lse } = backend.attention.attend({ q, k, v, selected, layout, spec })
    return { out, lse, selected }
  })
}

/** Gradients of q, k and v with the selection held fixed (spec 5). */
export function phsaAttentionBackward(
  backend: AttentionBackend,
  dOut: Tensor,
  input: PhsaAttentionInput,
  { out, lse, selected }: PhsaAttentionOutput,
  policy: SelectionPolicy = phsaPolicy,
): AttendGradients {
  const { q, k, v, layout } = input
  return backend.attention.attendBackward({ dOut, q, k, v, out, lse, selected, layout, spec: policy.spec(input.spec) })
}
