import type { Tensor } from '@phsa/core'
import type { KernelMemory } from '../attention/kernel-host.js'
import type { ProductDType } from '../products/matrix-product.js'

/** A tensor [rows, columns] as a matrix product takes it; from row `first` on. */
export function productMatrix(
  memory: KernelMemory,
  tensor: Tensor,
  first = 0,
): { readonly address: bigint; readonly stride: number; readonly dtype: ProductDType } {
  const stride = tensor.shape[1]
  // Floats on this backend are of these two types.
  const dtype = tensor.dtype === 'bf16' ? 'bf16' : 'f32'
  return { address: memory.address(tensor) + BigInt(first * stride * BYTES[dtype]), stride, dtype }
}

const BYTES: Readonly<Record<ProductDType, number>> = { bf16: 2, f32: 4 }
