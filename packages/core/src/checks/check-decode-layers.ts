import type { DecodeLayersInput } from '../contract/decode-layers.js'
import { checkPagedBatch } from './check-paged.js'
import { besides, checkTensor, FLOAT_DTYPES } from './check-tensor.js'
import type { TensorOwner } from './tensor-owner.js'

/** Checks the argument of `ModelBackend.decodeLayers`. */
export function checkDecodeLayers(owner: TensorOwner, { layers, x, positions, marks, rope, batch }: DecodeLayersInput): void {
  const tokens = batch.queryTokens
  checkTensor(owner, 'x', x, [tokens, -1], FLOAT_DTYPES)
  checkTensor(owner, 'positions', positions, [tokens], 'i32')
  checkTensor(owner, 'marks', marks, [tokens], besides(x.dtype))
  const width = x.shape[1]
  const normDTypes = [x.dtype, 'f32'] as const
  for (const [index, { cache, ...weights }] of layers.entries()) {
    const { heads, kvHeads, headDim } = cache.options.spec
    checkPagedBatch(owner, cache, batch)
    checkTensor(owner, 'rope.cos', rope.cos, [-1, headDim / 2], besides(x.dtype))
    checkTensor(owner, 'rope.sin', rope.sin, rope.cos.shape, besides(x.dtype))
    const check = (name: keyof typeof weights, ...shape: number[]) =>
      checkTensor(owner, `${name} of layer ${index}`, weights[name], shape, name.endsWith('Norm') ? normDTypes : x.dtype)
    check('inputNorm', width)
    check('postNorm', width)
    check('q', heads * headDim, width)
    check('k', kvHeads * headDim, width)
    check('v', kvHeads * headDim, width)
    check('qNorm', headDim)
    check('kNorm', headDim)
    check('o', width, heads * headDim)
    check('gate', -1, width)
    check('up', weights.gate.shape[0], width)
    check('down', width, weights.gate.shape[0])
  }
}
