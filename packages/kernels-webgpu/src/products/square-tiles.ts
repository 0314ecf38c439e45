import squaresSource from '../../kernels/product_squares.wgsl?raw'
import depthSource from '../../kernels/product_squares_depth.wgsl?raw'
import endSource from '../../kernels/product_squares_end.wgsl?raw'
import smallSource from '../../kernels/squares_64.wgsl?raw'
import largeSource from '../../kernels/squares_128.wgsl?raw'
import type { ShaderPart } from '../device/shader-part.js'

const SQUARES = [
  { file: 'product_squares.wgsl', source: squaresSource },
  ...['0', '1', '2', '3'].map((depth) => ({ file: 'product_squares_depth.wgsl', source: depthSource.replaceAll('DEPTH', depth) })),
  { file: 'product_squares_end.wgsl', source: endSource },
]
const TILES = {
  128: { file: 'squares_128.wgsl', source: largeSource },
  64: { file: 'squares_64.wgsl', source: smallSource },
}

/** The shader parts of a product in tiles of so many rows and columns. */
export function squareParts(tile: 64 | 128): readonly ShaderPart[] {
  return [TILES[tile], ...SQUARES]
}
