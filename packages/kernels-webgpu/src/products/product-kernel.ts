import gridSource from '../../kernels/grid.wgsl?raw'
import narrowSource from '../../kernels/matmul_narrow.wgsl?raw'
import resultElementSource from '../../kernels/matmul_result_element.wgsl?raw'
import resultSingleSource from '../../kernels/matmul_result_single.wgsl?raw'
import wideSource from '../../kernels/matmul_wide.wgsl?raw'
import { read, write } from '../device/bindings.js'
import type { Binding } from '../device/kernel-launch.js'
import type { Kernel, ShaderPart } from '../device/shader-part.js'
import type { MatrixProduct } from './matrix-product.js'
import { type MatrixWindow, windowOf } from './matrix-window.js'

const GRID = { file: 'grid.wgsl', source: gridSource }
const WIDE = { file: 'matmul_wide.wgsl', source: wideSource }
const NARROW = { file: 'matmul_narrow.wgsl', source: narrowSource }
const RESULT_SINGLE = { file: 'matmul_result_single.wgsl', source: resultSingleSource }
const RESULT_ELEMENT = { file: 'matmul_result_element.wgsl', source: resultElementSource }

/** The shader part that says what a result is made of. */
export function resultPart(element: MatrixProduct['element'], result: MatrixProduct['element']): ShaderPart {
  return element === result ? RESULT_ELEMENT : RESULT_SINGLE
}

/** A kernel over the matrices of a product, with loads as wide as these allow. */
export function productKernel(name: string, parts: readonly ShaderPart[], product: MatrixProduct): Kernel {
  const loads = isWide(product) ? WIDE : NARROW
  return { name, parts: [GRID, resultPart(product.element, product.result.element), loads, ...parts] }
}

/** The three matrices as a kernel binds them, and the parameters that say where they lie. @param resultRows of all parts */
export function productBindings(
  { rows, columns, depth, element, left, right, result }: MatrixProduct,
  resultRows = rows,
): {
  readonly bindings: readonly Binding[]
  readonly places: Readonly<Record<`${'left' | 'right' | 'result'}${'First' | 'Stride'}`, number>>
} {
  const windows: readonly MatrixWindow[] = [
    left.transposed ? windowOf(left, element, depth, rows) : windowOf(left, element, rows, depth),
    right.transposed ? windowOf(right, element, columns, depth) : windowOf(right, element, depth, columns),
    windowOf(result, result.element, resultRows, columns),
  ]
  const [ofLeft, ofRight, ofResult] = windows
  return {
    bindings: [read(ofLeft.slice), read(ofRight.slice), write(ofResult.slice)],
    places: {
      leftFirst: ofLeft.first,
      leftStride: ofLeft.stride,
      rightFirst: ofRight.first,
      rightStride: ofRight.stride,
      resultFirst: ofResult.first,
      resultStride: ofResult.stride,
    },
  }
}

/** Whether rows in memory, and where they begin, are multiples of four elements in all three matrices. */
export function isWide({ rows, columns, depth, left, right, result }: MatrixProduct): boolean {
  const extents = [left.transposed ? rows : depth, right.transposed ? depth : columns, columns]
  return [left, right, result].every(
    ({ first, stride }, index) => first % 4 === 0 && stride % 4 === 0 && extents[index] > 0 && extents[index] % 4 === 0,
  )
}
