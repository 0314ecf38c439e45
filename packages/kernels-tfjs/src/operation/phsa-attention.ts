import { UnsupportedError } from '@phsa/core'
import * as tf from '@tensorflow/tfjs-core'
import { attendPacked, attendPackedBackward, type PackedInputs, type PackedOutputs } from './attend-packed.js'
import { type AttentionBatch, attentionBatch } from './attention-batch.js'
import type { PhsaAttentionSettings } from './attention-settings.js'

/** Options of `phsaAttention`: the PHSA settings, and what is known of the tokens. */
export interface PhsaAttentionOptions extends PhsaAttentionSettings {
  /** Which tokens are punctuation, [batch, length]: non-zero or true for those. Without it, every block is represented by its plain mean. */
  readonly punctuation?: tf.Tensor | tf.TensorLike
  /** Valid tokens of each row, its first ones: [batch]. What lies past them is not read; its output and its gradients are 0. Default: all. */
  readonly lengths?: tf.Tensor | ArrayLike<number>
}

/**
 * Causal PHSA attention (spec 3 to 5) as a TensorFlow.js operation, on the current engine. It chooses blocks on the host, so the engine must be
 * one that is read synchronously: wasm, cpu and tfjs-node are. Differentiable in q, k and v, once, with the choice of blocks held fixed.
 *
 * @param q float32 [batch, length, heads, headDim]
 * @param k float32 [batch, length, kvHeads, headDim], where kvHeads divides heads; each KV head serves heads / kvHeads query heads in a row
 * @param v float32, shaped as k
 * @returns float32, shaped as q
 * @throws ShapeError, DisposedError, InvalidConfigError for a setting that is not allowed, UnsupportedError where the engine cannot be read
 */
export function phsaAttention(q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D, options: PhsaAttentionOptions = {}): tf.Tensor4D {
  const batch = attentionBatch(q, k, v, options)
  const attend = tf.customGrad((...given) => {
    // TensorFlow.js adds `save` to the tensors.
    const save = given[3] as tf.GradSaveFunc
    const { out, lse, selected } = batch.engine.run(() => attendPacked(batch, packedInputs(batch, q, k, v)))
    const value = tf.tensor4d(batch.rows.unpack(out, elements(q)), q.shape)
    save([q, k, v, value])
    return { value, gradFunc: (dOut, saved) => gradients(batch, { lse, selected }, [dOut, ...saved]) }
  })
  return attend(q, k, v) as tf.Tensor4D
}

/** @param given dOut, q, k, v, o */
function gradients(batch: AttentionBatch, outputs: Omit<PackedOutputs, 'out'>, given: tf.Tensor[]): tf.Tensor[] {
  const inputs = given.slice(1, 4)
  // All three as one tensor: the value of one operation, whose own gradient can be refused.
  const joined = tf.customGrad(() => {
    const value = batch.engine.run(() => joinedGradients(batch, outputs, given))
    return { value, gradFunc: refuseSecondGradient }
  })(...given)
  const parts = tf.split(
    joined,
    inputs.map(({ size }) => size),
  )
  return parts.map((part, index) => tf.reshape(part, inputs[index].shape))
}

function joinedGradients(batch: AttentionBatch, outputs: Omit<PackedOutputs, 'out'>, given: tf.Tensor[]): tf.Tensor1D {
  const [dOut, q, k, v, o] = given
  const parts = attendPackedBackward(batch, packedInputs(batch, q, k, v), { ...outputs, out: packed(batch, o) }, packed(batch, dOut))
  const joined = new Float32Array(q.size + k.size + v.size)
  let start = 0
  for (const [index, tensor] of [q, k, v].entries()) {
    joined.set(batch.rows.unpack(parts[index], elements(tensor)), start)
    start += tensor.size
  }
  return tf.tensor1d(joined)
}

function refuseSecondGradient(): never {
  throw new UnsupportedError(
    'second-gradient',
    'phsaAttention has a first gradient only, and this is the gradient of its gradient. For that, write attention with tf.matMul and tf.softmax.',
  )
}

function packedInputs(batch: AttentionBatch, q: tf.Tensor, k: tf.Tensor, v: tf.Tensor): PackedInputs {
  return { q: packed(batch, q), k: packed(batch, k), v: packed(batch, v) }
}

/** The valid rows of a tensor [batch, length, heads, headDim]: [T, heads, headDim]. */
function packed({ rows }: AttentionBatch, tensor: tf.Tensor): Float32Array {
  return rows.pack(tensor.dataSync<'float32'>(), elements(tensor))
}

/** Elements of one token. */
function elements(tensor: tf.Tensor): number {
  const [, , heads, headDim] = tensor.shape as readonly number[]
  return heads * headDim
}
