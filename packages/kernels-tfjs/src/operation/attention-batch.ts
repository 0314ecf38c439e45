import { attentionSpec, DisposedError, denseSpec, PackedLayout, ShapeError } from '@phsa/core'
import * as tf from '@tensorflow/tfjs-core'
import type { PackedAttention } from './attend-packed.js'
import { oneLayerConfig } from './attention-settings.js'
import { PaddedRows } from './padded-rows.js'
import type { PhsaAttentionOptions } from './phsa-attention.js'
import { readableEngine } from './readable-engine.js'

/** One call of the operation: its valid tokens, packed, and where they are in the batch. */
export interface AttentionBatch extends PackedAttention {
  readonly rows: PaddedRows
}

/** Checks the tensors and options of a call, and reads the punctuation and the lengths. */
export function attentionBatch(q: tf.Tensor, k: tf.Tensor, v: tf.Tensor, options: PhsaAttentionOptions): AttentionBatch {
  for (const [name, tensor] of Object.entries({ q, k, v })) checkTensor(name, tensor)
  const [batch, length, heads, headDim] = q.shape as readonly number[]
  const kvHeads = (k.shape as readonly number[])[2]
  checkShape('k', k, [batch, length, kvHeads, headDim])
  checkShape('v', v, [batch, length, kvHeads, headDim])
  const engine = readableEngine()
  const { punctuation, lengths, ...settings } = options
  const config = oneLayerConfig(settings, kvHeads)
  const sparse = attentionSpec(config, { heads, kvHeads, headDim, dtype: 'f32' })
  const spec = config.denseLayers.includes(0) ? denseSpec(sparse) : sparse
  const valid = engine.run(() => readLengths(lengths, batch, length))
  const marks = engine.run(() => readPunctuation(punctuation, batch, length))
  const rows = new PaddedRows(length, valid)
  const packed = new PackedLayout(rows.lengths, spec.blockSize)
  return { engine, spec, config, rows, packed, punctuation: rows.pack(marks, 1) }
}

function checkTensor(name: string, tensor: tf.Tensor): void {
  if (!(tensor instanceof tf.Tensor)) throw new ShapeError(`${name} is no tf.Tensor; make one with tf.tensor4d.`)
  checkAlive(name, tensor)
  if (tensor.dtype !== 'float32') throw new ShapeError(`${name} is ${tensor.dtype}; phsaAttention takes float32. Cast it with tf.cast.`)
  if (tensor.rank !== 4) {
    throw new ShapeError(
      `${name} has shape [${tensor.shape.join(', ')}]; phsaAttention takes [batch, length, heads, headDim]. Split the heads with tf.reshape.`,
    )
  }
}

function checkAlive(name: string, tensor: tf.Tensor): void {
  if (!tensor.isDisposed) return
  throw new DisposedError(`${name} [${tensor.shape.join(', ')}] is disposed; dispose it after its last use, or return it from its tf.tidy.`)
}

function checkShape(name: string, tensor: tf.Tensor, shape: readonly number[]): void {
  if (tensor.shape.every((extent, axis) => extent === shape[axis])) return
  throw new ShapeError(
    `${name} has shape [${tensor.shape.join(', ')}]; with this q and k it must be [${shape.join(', ')}]: [batch, length, kvHeads, headDim].`,
  )
}

function readLengths(given: PhsaAttentionOptions['lengths'], batch: number, length: number): number[] {
  if (given === undefined) return new Array<number>(batch).fill(length)
  const lengths = Array.from(given instanceof tf.Tensor ? elementsOf('lengths', given) : given)
  if (lengths.length !== batch) throw new ShapeError(`lengths has ${lengths.length} values for a batch of ${batch}; give one for each row.`)
  for (const [row, valid] of lengths.entries()) {
    if (Number.isInteger(valid) && valid >= 0 && valid <= length) continue
    throw new ShapeError(`lengths[${row}] is ${valid}; rows have ${length} tokens, of which 0 to ${length} are valid.`)
  }
  return lengths
}

function readPunctuation(given: PhsaAttentionOptions['punctuation'], batch: number, length: number): Uint8Array {
  if (given === undefined) return new Uint8Array(batch * length)
  if (given instanceof tf.Tensor && !tf.util.arraysEqual(given.shape, [batch, length])) {
    throw new ShapeError(`punctuation has shape [${given.shape.join(', ')}]; it must be [batch, length], here [${batch}, ${length}].`)
  }
  const values = given instanceof tf.Tensor ? elementsOf('punctuation', given) : tf.util.flatten(given as number[][])
  if (values.length !== batch * length) {
    throw new ShapeError(`punctuation has ${values.length} values; it must be [batch, length], here [${batch}, ${length}].`)
  }
  return Uint8Array.from(values, (value) => (value ? 1 : 0))
}

function elementsOf(name: string, tensor: tf.Tensor): ArrayLike<number> {
  checkAlive(name, tensor)
  return tensor.dataSync()
}
