import type { Memory } from './contract/memory.js'
import type { FinishLayerInput, ModelOps, ProjectedHeads, ProjectHeadsInput } from './contract/model-ops.js'
import type { Tensor } from './contract/tensor.js'

/** What the halves of a layer are computed with: a `ModelBackend`, or a part of one. */
export interface LayerHost {
  readonly ops: ModelOps
  readonly memory: Pick<Memory, 'reshape' | 'scope'>
}

/** A layer up to its attention, and what the backward pass reads of it. */
export interface ComposedHeads extends ProjectedHeads {
  /** [T, E] */
  readonly inputNormed: Tensor
  /** Before norm and rotation: [T, Hq, D] and [T, Hkv, D]. */
  readonly qProjected: Tensor
  readonly kProjected: Tensor
}

/** A layer from its attention on, and what the backward pass reads of it. */
export interface ComposedLayerEnd {
  /** x plus the projected attention, [T, E], without and with its norm. */
  readonly middle: Tensor
  readonly middleNormed: Tensor
  /** [T, I], and their SwiGLU product. */
  readonly gate: Tensor
  readonly up: Tensor
  readonly product: Tensor
  /** [T, E] */
  readonly output: Tensor
}

/** Queries, keys and values of a layer (spec 1). */
export function composedHeads({ ops, memory }: LayerHost, input: ProjectHeadsInput): ComposedHeads {
  const { x, norm, qNorm, kNorm, positions, rope, epsilon } = input
  const headDim = qNorm.shape[0]
  const project = (weight: Tensor) => memory.reshape(ops.linear(inputNormed, weight), [x.shape[0], weight.shape[0] / headDim, headDim])
  const inputNormed = ops.rmsNorm(x, norm, epsilon)
  const [qProjected, kProjected, v] = [project(input.q), project(input.k), project(input.v)]
  const q = ops.qkNormRope({ x: qProjected, weight: qNorm, positions, rope, epsilon })
  const k = ops.qkNormRope({ x: kProjected, weight: kNorm, positions, rope, epsilon })
  return { inputNormed, qProjected, kProjected, q, k, v }
}

/** From a layer's attention to its output: projection, residual sum, SwiGLU network, residual sum. */
export function composedLayerEnd({ ops, memory }: LayerHost, input: FinishLayerInput): ComposedLayerEnd {
  const { x, out, norm, epsilon } = input
  const [tokens, heads, headDim] = out.shape
  const attended = ops.linear(memory.reshape(out, [tokens, heads * headDim]), input.o)
  const { sum: middle, normed: middleNormed } = ops.addRmsNorm(x, attended, norm, epsilon)
  const gate = ops.linear(middleNormed, input.gate)
  const up = ops.linear(middleNormed, input.up)
  const product = ops.swiglu(gate, up)
  const output = ops.add(middle, ops.linear(product, input.down))
  return { middle, middleNormed, gate, up, product, output }
}

/** The heads alone: by the backend's own operation where it has one for the case, otherwise composed. */
export function projectHeads(host: LayerHost, input: ProjectHeadsInput): ProjectedHeads {
  const own = host.ops.projectHeads?.(input)
  if (own) return own
  return host.memory.scope(() => {
    const { q, k, v } = composedHeads(host, input)
    return { q, k, v }
  })
}

/** The output alone, [T, E]: by the backend's own operation where it has one for the case, otherwise composed. */
export function finishLayer(host: LayerHost, input: FinishLayerInput): Tensor {
  return host.ops.finishLayer?.(input) ?? host.memory.scope(() => composedLayerEnd(host, input).output)
}
