import type { AdamwParameter, CrossEntropyInput, FinishLayerInput, ProjectHeadsInput, QkNormRopeInput } from '../contract/model-ops.js'
import type { Tensor } from '../contract/tensor.js'
import { ShapeError } from '../errors/shape-error.js'
import { accumulatorOf, besides, checkTensor, FLOAT_DTYPES } from './check-tensor.js'
import type { TensorOwner } from './tensor-owner.js'

// Each function checks the arguments of one method of `ModelOps`. Weights have the type of the activations they meet, norm weights
// that or f32; gradients accumulate in their weight's type or in f32.

/** Checks `embedding`. */
export function checkEmbedding(owner: TensorOwner, table: Tensor, ids: Tensor): void {
  checkTensor(owner, 'table', table, [-1, -1], FLOAT_DTYPES)
  checkTensor(owner, 'ids', ids, [-1], 'i32')
}

/** Checks `embeddingBackward`. */
export function checkEmbeddingBackward(owner: TensorOwner, dOut: Tensor, ids: Tensor, dTable: Tensor): void {
  checkTensor(owner, 'ids', ids, [-1], 'i32')
  checkTensor(owner, 'dOut', dOut, [ids.shape[0], -1], FLOAT_DTYPES)
  checkTensor(owner, 'dTable', dTable, [-1, dOut.shape[1]], accumulatorOf(dOut.dtype))
}

/** Checks `rmsNorm`. */
export function checkRmsNorm(owner: TensorOwner, x: Tensor, weight: Tensor): void {
  checkTensor(owner, 'x', x, [-1, -1], FLOAT_DTYPES)
  checkTensor(owner, 'weight', weight, [x.shape[1]], [x.dtype, 'f32'])
}

/** Checks `addRmsNorm`. */
export function checkAddRmsNorm(owner: TensorOwner, a: Tensor, b: Tensor, weight: Tensor): void {
  checkTensor(owner, 'a', a, [-1, -1], FLOAT_DTYPES)
  checkTensor(owner, 'b', b, a.shape, a.dtype)
  checkTensor(owner, 'weight', weight, [a.shape[1]], [a.dtype, 'f32'])
}

/** Checks `rmsNormBackward`. */
export function checkRmsNormBackward(owner: TensorOwner, dy: Tensor, x: Tensor, weight: Tensor, dWeight: Tensor): void {
  checkRmsNorm(owner, x, weight)
  checkTensor(owner, 'dy', dy, x.shape, x.dtype)
  checkTensor(owner, 'dWeight', dWeight, weight.shape, accumulatorOf(weight.dtype))
}

/** Checks `linear`. */
export function checkLinear(owner: TensorOwner, x: Tensor, weight: Tensor): void {
  checkTensor(owner, 'x', x, [-1, -1], FLOAT_DTYPES)
  checkTensor(owner, 'weight', weight, [-1, x.shape[1]], x.dtype)
}

/** Checks `linearBackward`. */
export function checkLinearBackward(owner: TensorOwner, dy: Tensor, x: Tensor, weight: Tensor, dWeight: Tensor, dx?: Tensor): void {
  checkLinear(owner, x, weight)
  checkTensor(owner, 'dy', dy, [x.shape[0], weight.shape[0]], x.dtype)
  if (dx) checkTensor(owner, 'dx', dx, x.shape, accumulatorOf(x.dtype))
  checkTensor(owner, 'dWeight', dWeight, weight.shape, accumulatorOf(weight.dtype))
}

/** Checks `qkNormRope`. */
export function checkQkNormRope(owner: TensorOwner, { x, weight, positions, rope }: QkNormRopeInput): void {
  checkTensor(owner, 'x', x, [-1, -1, -1], FLOAT_DTYPES)
  const [tokens, , headDim] = x.shape
  if (headDim % 2 !== 0) throw new ShapeError(`x has head dimension ${headDim}; rotation pairs its halves, so it must be even.`)
  checkTensor(owner, 'weight', weight, [headDim], [x.dtype, 'f32'])
  checkTensor(owner, 'positions', positions, [tokens], 'i32')
  checkTensor(owner, 'rope.cos', rope.cos, [-1, headDim / 2], besides(x.dtype))
  checkTensor(owner, 'rope.sin', rope.sin, rope.cos.shape, besides(x.dtype))
}

/** Checks `qkNormRopeBackward`. */
export function checkQkNormRopeBackward(owner: TensorOwner, dy: Tensor, input: QkNormRopeInput, dWeight: Tensor): void {
  checkQkNormRope(owner, input)
  checkTensor(owner, 'dy', dy, input.x.shape, input.x.dtype)
  checkTensor(owner, 'dWeight', dWeight, input.weight.shape, accumulatorOf(input.weight.dtype))
}

/** Checks `swiglu`. */
export function checkSwiglu(owner: TensorOwner, gate: Tensor, up: Tensor): void {
  checkTensor(owner, 'gate', gate, [-1, -1], FLOAT_DTYPES)
  checkTensor(owner, 'up', up, gate.shape, gate.dtype)
}

/** Checks `swigluBackward`. */
export function checkSwigluBackward(owner: TensorOwner, dy: Tensor, gate: Tensor, up: Tensor): void {
  checkSwiglu(owner, gate, up)
  checkTensor(owner, 'dy', dy, gate.shape, gate.dtype)
}

/** Checks `add`. */
export function checkAdd(owner: TensorOwner, a: Tensor, b: Tensor): void {
  checkTensor(owner, 'a', a, a.shape, FLOAT_DTYPES)
  checkTensor(owner, 'b', b, a.shape, a.dtype)
}

/** Checks `projectHeads`. */
export function checkProjectHeads(owner: TensorOwner, input: ProjectHeadsInput): void {
  const { x, norm, q, k, v, qNorm, kNorm, positions, rope } = input
  checkTensor(owner, 'x', x, [-1, -1], FLOAT_DTYPES)
  const [tokens, width] = x.shape
  checkTensor(owner, 'norm', norm, [width], [x.dtype, 'f32'])
  checkTensor(owner, 'qNorm', qNorm, [-1], [x.dtype, 'f32'])
  const [headDim] = qNorm.shape
  checkTensor(owner, 'kNorm', kNorm, [headDim], qNorm.dtype)
  for (const [name, weight] of Object.entries({ q, k, v })) {
    checkTensor(owner, name, weight, [-1, width], x.dtype)
    if (weight.shape[0] % headDim !== 0 || headDim % 2 !== 0) {
      throw new ShapeError(`${name} has ${weight.shape[0]} rows and a head ${headDim}: rows must be whole heads, and a head even.`)
    }
  }
  checkTensor(owner, 'v', v, k.shape, x.dtype)
  checkTensor(owner, 'positions', positions, [tokens], 'i32')
  checkTensor(owner, 'rope.cos', rope.cos, [-1, headDim / 2], besides(x.dtype))
  checkTensor(owner, 'rope.sin', rope.sin, rope.cos.shape, besides(x.dtype))
}

/** Checks `finishLayer`. */
export function checkFinishLayer(owner: TensorOwner, { x, out, o, norm, gate, up, down }: FinishLayerInput): void {
  checkTensor(owner, 'x', x, [-1, -1], FLOAT_DTYPES)
  const [tokens, width] = x.shape
  checkTensor(owner, 'out', out, [tokens, -1, -1], x.dtype)
  checkTensor(owner, 'o', o, [width, out.shape[1] * out.shape[2]], x.dtype)
  checkTensor(owner, 'norm', norm, [width], [x.dtype, 'f32'])
  checkTensor(owner, 'gate', gate, [-1, width], x.dtype)
  checkTensor(owner, 'up', up, gate.shape, x.dtype)
  checkTensor(owner, 'down', down, [width, gate.shape[0]], x.dtype)
}

/** Checks `crossEntropy`. */
export function checkCrossEntropy(owner: TensorOwner, { hidden, head, targets, weights }: CrossEntropyInput): void {
  checkTensor(owner, 'hidden', hidden, [-1, -1], FLOAT_DTYPES)
  const [tokens, width] = hidden.shape
  checkTensor(owner, 'head', head, [-1, width], hidden.dtype)
  checkTensor(owner, 'targets', targets, [tokens], 'i32')
  checkTensor(owner, 'weights', weights, [tokens], besides(hidden.dtype))
}

/** Checks `crossEntropyBackward`. */
export function checkCrossEntropyBackward(owner: TensorOwner, input: CrossEntropyInput, dHead: Tensor): void {
  checkCrossEntropy(owner, input)
  checkTensor(owner, 'dHead', dHead, input.head.shape, accumulatorOf(input.head.dtype))
}

/** Checks `gradientNorm`. */
export function checkGradientNorm(owner: TensorOwner, gradients: readonly Tensor[]): void {
  for (const [index, gradient] of gradients.entries()) checkTensor(owner, `gradients[${index}]`, gradient, gradient.shape, FLOAT_DTYPES)
}

/** Checks `adamw`. */
export function checkAdamw(owner: TensorOwner, parameters: readonly AdamwParameter[], control: Tensor, norm: Tensor): void {
  checkTensor(owner, 'control', control, [3], ['f32', 'f64'])
  checkTensor(owner, 'norm', norm, [2], ['f32', 'f64'])
  for (const [index, { value, gradient, mean, variance, master }] of parameters.entries()) {
    const name = (field: string) => `parameters[${index}].${field}`
    checkTensor(owner, name('value'), value, value.shape, FLOAT_DTYPES)
    checkTensor(owner, name('gradient'), gradient, value.shape, accumulatorOf(value.dtype))
    checkTensor(owner, name('mean'), mean, value.shape, besides(value.dtype))
    checkTensor(owner, name('variance'), variance, value.shape, besides(value.dtype))
    if (master) checkTensor(owner, name('master'), master, value.shape, 'f32')
  }
}

/** Checks `sample`. Logits may be of any float type, because `linear` makes them in the model's own. */
export function checkSample(owner: TensorOwner, logits: Tensor, control: Tensor): void {
  checkTensor(owner, 'logits', logits, [-1, -1], FLOAT_DTYPES)
  if (logits.shape[1] === 0)
    throw new ShapeError(`logits has shape [${logits.shape.join(', ')}]; a token can be drawn from one or more only.`)
  checkTensor(owner, 'control', control, [logits.shape[0], 5], ['f32', 'f64'])
}
