import type { Tensor } from '@phsa/core'
import gridSource from '../../kernels/grid.wgsl?raw'
import rmsNormSource from '../../kernels/rms_norm.wgsl?raw'
import rmsNormBackwardSource from '../../kernels/rms_norm_backward.wgsl?raw'
import { read, write } from '../device/bindings.js'
import { gridOf } from '../device/grid.js'
import { packParams } from '../device/param-layout.js'
import { reducePart } from '../device/reduce-part.js'
import { elementTypeOf, vectorOf, vectorTypesWith } from './element-types.js'
import { addPartialSums } from './norm-gradient.js'
import type { OpHost } from './op-host.js'

/** `Params` of rms_norm.wgsl. */
export const RmsNormParams = { rows: 'u32', vectors: 'u32', inverseWidth: 'f32', epsilon: 'f32' } as const
/** `Params` of rms_norm_backward.wgsl. */
export const RmsNormBackwardParams = { rows: 'u32', vectors: 'u32', gridRows: 'u32', inverseWidth: 'f32', epsilon: 'f32' } as const

const GRID = { file: 'grid.wgsl', source: gridSource }
const WEIGHT_TYPES = vectorTypesWith('Weight')
const RMS_NORM = { file: 'rms_norm.wgsl', source: rmsNormSource }
const RMS_NORM_BACKWARD = { file: 'rms_norm_backward.wgsl', source: rmsNormBackwardSource }
/** Rows that are taken at once backward: enough for every GPU, few enough to add up. */
const MOST_GRID_ROWS = 512
/** Vectors of a row of which a workgroup writes the gradient: 256 * HELD of rms_norm_backward.wgsl. */
const OWNED_VECTORS = 1024

/** x / sqrt(mean(x^2) + epsilon) * weight of rows x [T, E]. */
export function rmsNorm({ device, memory }: OpHost, x: Tensor, weight: Tensor, epsilon: number): Tensor {
  const [rows, width] = x.shape
  const vector = vectorOf(width)
  const y = memory.make(x.shape, x.dtype)
  device.launch({
    kernel: { name: 'rms_norm', parts: [GRID, reducePart(device), WEIGHT_TYPES[elementTypeOf(weight)][vector], RMS_NORM] },
    element: elementTypeOf(x),
    constants: {},
    bindings: [read(memory.slice(x)), read(memory.slice(weight)), write(memory.slice(y))],
    params: packParams(RmsNormParams, { rows, vectors: width / vector, inverseWidth: 1 / width, epsilon }),
    grid: gridOf(rows),
  })
  return y
}

/** Returns dx; adds to dWeight [E]. */
export function rmsNormBackward(host: OpHost, dy: Tensor, x: Tensor, weight: Tensor, epsilon: number, dWeight: Tensor): Tensor {
  const { device, memory } = host
  const [rows, width] = x.shape
  const vector = vectorOf(width)
  const vectors = width / vector
  const dx = memory.make(x.shape, x.dtype)
  const gridRows = Math.min(rows, MOST_GRID_ROWS)
  if (gridRows === 0) return dx
  addPartialSums(host, dWeight, gridRows, (partials) =>
    device.launch({
      kernel: {
        name: 'rms_norm_backward',
        parts: [reducePart(device), WEIGHT_TYPES[elementTypeOf(weight)][vector], RMS_NORM_BACKWARD],
      },
      element: elementTypeOf(x),
      constants: {},
      bindings: [read(memory.slice(dy)), read(memory.slice(x)), read(memory.slice(weight)), write(memory.slice(dx)), write(partials)],
      params: packParams(RmsNormBackwardParams, { rows, vectors, gridRows, inverseWidth: 1 / width, epsilon }),
      grid: [gridRows, 1, Math.ceil(vectors / OWNED_VECTORS)],
    }),
  )
  return dx
}
