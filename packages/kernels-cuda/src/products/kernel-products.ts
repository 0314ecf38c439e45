import type { KernelDevice } from '../attention/kernel-host.js'
import { packParams } from '../attention/param-layout.js'
import type { MatrixProduct, MatrixProducts } from './matrix-product.js'
import { MatmulParams } from './product-params.js'

/** Rows and columns of a tile, and threads that work on it: kTile and kMatmulThreads of matmul.cu. */
const TILE = 128
const THREADS = 256
/** Four stages of two operands, 128 x 32 elements of 2 bytes: kStages and kOperandElements of matmul.cu. */
const TENSOR_SHARED_BYTES = 4 * 2 * 128 * 32 * 2

/** Matrix products by kernels of our own: for a machine without cuBLASLt, and for what cuBLASLt refuses. */
export function kernelProducts(device: KernelDevice): MatrixProducts {
  return {
    multiply(product) {
      const { rows, columns, depth, dtype, left, right, result, accumulate = false } = product
      device.launch({
        kernel: `matmul_${form(product)}_${dtype}_${result.dtype}`,
        grid: [Math.ceil(rows / TILE) * Math.ceil(columns / TILE), 1, 1],
        block: THREADS,
        sharedBytes: dtype === 'bf16' ? TENSOR_SHARED_BYTES : 0,
        params: packParams(MatmulParams, {
          left: left.address,
          right: right.address,
          result: result.address,
          leftStride: left.stride,
          rightStride: right.stride,
          resultStride: result.stride,
          rows,
          columns,
          depth,
          accumulate: Number(accumulate),
        }),
      })
    },
    close() {
      // Kernels hold nothing.
    },
  }
}

/** n as it is, t transposed, left and right. */
function form({ left, right }: MatrixProduct): string {
  return `${left.transposed ? 't' : 'n'}${right.transposed ? 't' : 'n'}`
}
