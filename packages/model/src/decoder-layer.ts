import {
  type AttentionSpec,
  blockDistillation,
  type ComposedHeads,
  type ComposedLayerEnd,
  composedHeads,
  composedLayerEnd,
  type FinishLayerInput,
  type Layout,
  type ModelBackend,
  type PhsaAttentionInput,
  type ProjectHeadsInput,
  phsaAttention,
  phsaAttentionBackward,
  type RopeTable,
  type SelectionPolicy,
  type Tensor,
  type TokenWeights,
} from '@phsa/core'
import type { LayerRoles } from './parameter-shapes.js'

/** What one layer needs besides its input. */
export interface LayerContext {
  readonly backend: ModelBackend
  readonly parameters: LayerRoles<Tensor>
  readonly epsilon: number
  /** i32 [T] */
  readonly positions: Tensor
  readonly rope: RopeTable
  readonly layout: Layout
  readonly weights: TokenWeights
  /** Before the policy derives its own from it. */
  readonly spec: AttentionSpec
  readonly policy: SelectionPolicy
}

/** What the backward pass of a layer reads. */
export interface LayerActivations extends ComposedHeads, ComposedLayerEnd {
  /** [T, E]; before attention, without its norm. */
  readonly input: Tensor
  /** [T, Hq, D], f32 [T, Hq], i32 [Hkv, T, topK]. */
  readonly out: Tensor
  readonly lse: Tensor
  readonly selected: Tensor
}

/** The part of a layer's context that its projections read. */
type ProjectionContext = Pick<LayerContext, 'parameters' | 'epsilon' | 'positions' | 'rope'>

/** What `projectHeads` reads of a layer. @param x [T, E] */
export function headsInput({ parameters, epsilon, positions, rope }: ProjectionContext, x: Tensor): ProjectHeadsInput {
  const { inputNorm: norm, q, k, v, qNorm, kNorm } = parameters
  return { x, norm, q, k, v, qNorm, kNorm, positions, rope, epsilon }
}

/** What `finishLayer` reads of a layer. @param x [T, E]; out [T, Hq, D] */
export function endInput({ parameters, epsilon }: Pick<LayerContext, 'parameters' | 'epsilon'>, x: Tensor, out: Tensor): FinishLayerInput {
  const { postNorm: norm, o, gate, up, down } = parameters
  return { x, out, o, norm, gate, up, down, epsilon }
}

/**
 * One layer on packed sequences.
 * @param chosen i32 [Hkv, T, topK]: the selection of an earlier run on the same input, taken instead of choosing again
 */
export function layerForward(context: LayerContext, input: Tensor, chosen?: Tensor): LayerActivations {
  const { backend, layout, weights, spec, policy } = context
  return backend.memory.scope(() => {
    const projections = composedHeads(backend, headsInput(context, input))
    const { q, k, v } = projections
    const attended = chosen
      ? { ...backend.attention.attend({ q, k, v, selected: chosen, layout, spec: policy.spec(spec) }), selected: chosen }
      : phsaAttention(backend, { q, k, v, weights, layout, spec }, policy)
    return { input, ...projections, ...attended, ...composedLayerEnd(backend, endInput(context, input, attended.out)) }
  })
}

/** Block distillation of one layer (spec 10). */
export interface LayerDistillation {
  /** i32 [n] */
  readonly rows: Tensor
  /** The loss's coefficient over the number of layers that have it. */
  readonly coefficient: number
  /** f32 [Hkv]: the gradient of lambda is added to it; only where the weights are of kind `branches`. */
  readonly dLambda?: Tensor
}

/**
 * Gradients of one layer. Adds to `gradients`.
 * @param dOutput [T, E]
 * @returns dInput [T, E], and the distillation loss f32 [1] where asked for
 */
export function layerBackward(
  context: LayerContext,
  dOutput: Tensor,
  saved: LayerActivations,
  gradients: LayerRoles<Tensor>,
  distillation?: LayerDistillation,
): { dInput: Tensor; distillationLoss: Tensor | undefined } {
  const { backend, parameters, layout, weights, spec, policy } = context
  const { memory, ops } = backend
  return memory.scope(() => {
    const dMiddle = feedForwardBackward(context, dOutput, saved, gradients)
    const dOut = memory.reshape(ops.linearBackward(dMiddle, mergeHeads(backend, saved.out), parameters.o, gradients.o), saved.out.shape)
    const { q, k, v } = saved
    const input: PhsaAttentionInput = { q, k, v, weights, layout, spec }
    const { dq, dk, dv } = phsaAttentionBackward(backend, dOut, input, saved, policy)
    const distillationLoss = distillation && blockDistillation(backend, { ...input, spec: policy.spec(spec), ...distillation, dq, dk })
    const dNormed = projectionsBackward(context, { dq, dk, dv }, saved, gradients)
    const dInput = ops.add(dMiddle, ops.rmsNormBackward(dNormed, saved.input, parameters.inputNorm, context.epsilon, gradients.inputNorm))
    return { dInput, distillationLoss }
  })
}

function feedForwardBackward(
  { backend, parameters, epsilon }: LayerContext,
  dOutput: Tensor,
  { middle, middleNormed, gate, up, product }: LayerActivations,
  gradients: LayerRoles<Tensor>,
): Tensor {
  const { ops } = backend
  const dProduct = ops.linearBackward(dOutput, product, parameters.down, gradients.down)
  const { dGate, dUp } = ops.swigluBackward(dProduct, gate, up)
  const dNormed = ops.linearBackward(dGate, middleNormed, parameters.gate, gradients.gate)
  ops.linearBackward(dUp, middleNormed, parameters.up, gradients.up, dNormed)
  return ops.add(dOutput, ops.rmsNormBackward(dNormed, middle, parameters.postNorm, epsilon, gradients.postNorm))
}

function projectionsBackward(
  context: LayerContext,
  { dq, dk, dv }: { dq: Tensor; dk: Tensor; dv: Tensor },
  { inputNormed, qProjected, kProjected }: LayerActivations,
  gradients: LayerRoles<Tensor>,
): Tensor {
  const { backend, parameters } = context
  const { ops } = backend
  const dqProjected = ops.qkNormRopeBackward(dq, queryNorm(context, qProjected), gradients.qNorm)
  const dkProjected = ops.qkNormRopeBackward(dk, keyNorm(context, kProjected), gradients.kNorm)
  const dNormed = ops.linearBackward(mergeHeads(backend, dqProjected), inputNormed, parameters.q, gradients.q)
  ops.linearBackward(mergeHeads(backend, dkProjected), inputNormed, parameters.k, gradients.k, dNormed)
  ops.linearBackward(mergeHeads(backend, dv), inputNormed, parameters.v, gradients.v, dNormed)
  return dNormed
}

function queryNorm({ parameters, positions, rope, epsilon }: ProjectionContext, x: Tensor) {
  return { x, weight: parameters.qNorm, positions, rope, epsilon }
}

function keyNorm({ parameters, positions, rope, epsilon }: ProjectionContext, x: Tensor) {
  return { x, weight: parameters.kNorm, positions, rope, epsilon }
}

/** [T, H, D] as [T, H * D]. */
function mergeHeads(backend: ModelBackend, x: Tensor): Tensor {
  const [tokens, heads, headDim] = x.shape
  return backend.memory.reshape(x, [tokens, heads * headDim])
}
