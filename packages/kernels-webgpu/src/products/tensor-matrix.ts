import type { Tensor } from '@phsa/core'
import type { KernelMemory } from '../attention/kernel-host.js'
import type { ElementType } from '../device/shader-part.js'
import type { MatrixOperand } from './matrix-product.js'

/** A tensor [rows, columns] of f32 or f16 as a product takes it, from row `row` on. */
export function tensorMatrix(
  memory: KernelMemory,
  tensor: Tensor,
  row = 0,
): MatrixOperand & { readonly element: ElementType; readonly transposed?: false } {
  const stride = tensor.shape[1]
  return { slice: memory.slice(tensor), first: row * stride, stride, element: tensor.dtype === 'f16' ? 'f16' : 'f32' }
}
