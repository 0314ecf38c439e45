import { checkLinear, checkLinearBackward, type ModelOps, type Tensor } from '@phsa/core'
import type { KernelMemory } from '../attention/kernel-host.js'
import type { MatrixProducts } from '../products/matrix-product.js'
import { productMatrix } from './product-matrix.js'

/** y = x Wt and its gradients, as `ModelOps` says. */
export function linearOps(memory: KernelMemory, products: MatrixProducts): Pick<ModelOps, 'linear' | 'linearBackward'> {
  return {
    linear(x, weight) {
      memory.checkOpen()
      checkLinear(memory.owner, x, weight)
      const [rows, depth] = x.shape
      const [columns] = weight.shape
      return memory.scope(() => {
        const y = memory.make([rows, columns], x.dtype)
        const [left, result] = [productMatrix(memory, x), productMatrix(memory, y)]
        products.multiply({
          rows,
          columns,
          depth,
          dtype: left.dtype,
          left,
          right: { ...productMatrix(memory, weight), transposed: true },
          result,
        })
        return y
      })
    },

    linearBackward(dy, x, weight, dWeight, dx) {
      memory.checkOpen()
      checkLinearBackward(memory.owner, dy, x, weight, dWeight, dx)
      const [tokens, inputs] = x.shape
      const [outputs] = weight.shape
      const change = productMatrix(memory, dy)
      const { dtype } = change
      products.multiply({
        rows: outputs,
        columns: inputs,
        depth: tokens,
        dtype,
        left: { ...change, transposed: true },
        right: productMatrix(memory, x),
        result: productMatrix(memory, dWeight),
        accumulate: true,
      })
      const addTo = (result: Tensor) => {
        products.multiply({
          rows: tokens,
          columns: inputs,
          depth: outputs,
          dtype,
          left: change,
          right: productMatrix(memory, weight),
          result: productMatrix(memory, result),
          accumulate: dx !== undefined,
        })
        return result
      }
      return dx ? addTo(dx) : memory.scope(() => addTo(memory.make(x.shape, x.dtype)))
    },
  }
}
