import {
  type AttentionSpec,
  type PackedLayout,
  type PhsaConfig,
  phsaAttention,
  type Tensor,
  uploadLayout,
  uploadTokenWeights,
} from '@phsa/core'
import type { Engine } from '../engine.js'
import { TfjsBackend } from '../tfjs-backend.js'

/** One attention over packed sequences, on the host: what it computes, besides q, k and v. */
export interface PackedAttention {
  readonly engine: Pick<Engine, 'device' | 'run'>
  readonly config: PhsaConfig
  readonly spec: AttentionSpec
  readonly packed: PackedLayout
  /** One byte a token, [T]. */
  readonly punctuation: Uint8Array
}

/** q [T, Hq, D], k and v [T, Hkv, D]. They are read only. */
export interface PackedInputs {
  readonly q: Float32Array
  readonly k: Float32Array
  readonly v: Float32Array
}

/** What the backward pass needs again: out [T, Hq, D], lse [T, Hq], selected [Hkv, T, topK]. */
export interface PackedOutputs {
  readonly out: Float32Array
  readonly lse: Float32Array
  readonly selected: Int32Array
}

/** PHSA attention (spec 3 to 5). */
export function attendPacked(call: PackedAttention, inputs: PackedInputs): PackedOutputs {
  return withBackend(call, inputs, (backend, tensors, layout) => {
    const { config, spec, packed, punctuation } = call
    const { memory } = backend
    const weights = uploadTokenWeights(memory, config, { layers: 1, kvHeads: spec.kvHeads }, punctuation, packed).forLayer(0)
    const { out, lse, selected } = phsaAttention(backend, { ...tensors, weights, layout, spec })
    // Not views of the engine, which would go with the backend.
    return { out: memory.writable(out), lse: memory.writable(lse), selected: memory.integers(selected) }
  })
}

/** Gradients of q, k and v, shaped as these, with the selection held fixed (spec 5). @param dOut [T, Hq, D] */
export function attendPackedBackward(
  call: PackedAttention,
  inputs: PackedInputs,
  outputs: PackedOutputs,
  dOut: Float32Array,
): readonly [dq: Float32Array, dk: Float32Array, dv: Float32Array] {
  return withBackend(call, inputs, ({ attention, memory }, tensors, layout) => {
    const { spec } = call
    const { dq, dk, dv } = attention.attendBackward({
      ...tensors,
      dOut: memory.fromHost(dOut, tensors.q.shape),
      out: memory.fromHost(outputs.out, tensors.q.shape),
      lse: memory.fromHost(outputs.lse, [layout.queryTokens, spec.heads]),
      selected: memory.fromIntegers(outputs.selected, [spec.kvHeads, layout.queryTokens, spec.topK]),
      layout,
      spec,
    })
    return [memory.writable(dq), memory.writable(dk), memory.writable(dv)]
  })
}

/** Runs the kernels on a backend that lives for this call only, so that nothing of it is left on the user's engine. */
function withBackend<T>(
  { engine, spec, packed }: PackedAttention,
  { q, k, v }: PackedInputs,
  run: (backend: TfjsBackend, tensors: Record<'q' | 'k' | 'v', Tensor>, layout: ReturnType<typeof uploadLayout>) => T,
): T {
  const backend = new TfjsBackend(engine)
  const { memory } = backend
  const keyShape = [packed.totalTokens, spec.kvHeads, spec.headDim]
  try {
    const tensors = {
      q: memory.fromHost(q, [packed.totalTokens, spec.heads, spec.headDim]),
      k: memory.fromHost(k, keyShape),
      v: memory.fromHost(v, keyShape),
    }
    return run(backend, tensors, uploadLayout(memory, packed))
  } finally {
    backend.dispose()
  }
}
