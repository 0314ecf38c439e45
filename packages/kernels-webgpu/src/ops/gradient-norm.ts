import { bytesPerElement, elementCount, type Tensor } from '@phsa/core'
import gradientNormSource from '../../kernels/gradient_norm.wgsl?raw'
import gradientSquaresSource from '../../kernels/gradient_squares.wgsl?raw'
import gridSource from '../../kernels/grid.wgsl?raw'
import squaresSource from '../../kernels/squares.wgsl?raw'
import { read, write } from '../device/bindings.js'
import type { GpuDevice } from '../device/gpu-device.js'
import { gridOf } from '../device/grid.js'
import { packParams } from '../device/param-layout.js'
import { reducePart } from '../device/reduce-part.js'
import { elementTypeOf } from './element-types.js'
import type { OpHost } from './op-host.js'
import { type Window, windowSlice, windowsOf } from './windows.js'

/** `Params` of gradient_squares.wgsl. */
export const GradientSquaresParams = { count: 'u32', firstPartial: 'u32' } as const
/** `Params` of gradient_norm.wgsl. */
export const GradientNormParams = { partials: 'u32', maxNorm: 'f32' } as const

const GRID = { file: 'grid.wgsl', source: gridSource }
const SQUARES = { file: 'squares.wgsl', source: squaresSource }
const GRADIENT_SQUARES = { file: 'gradient_squares.wgsl', source: gradientSquaresSource }
const GRADIENT_NORM = { file: 'gradient_norm.wgsl', source: gradientNormSource }
/** OWNED of gradient_squares.wgsl: elements of a workgroup. */
const OWNED = 16384
/** Bytes of a workgroup's `Squares`. */
const PARTIAL_BYTES = 16
const LARGEST_FLOAT = (2 - 2 ** -23) * 2 ** 127

/** A gradient's part that one launch sees, and the place of its sums. */
interface Piece {
  readonly gradient: Tensor
  readonly window: Window
  readonly firstPartial: number
}

/** f32 [2]: the norm of all gradients together, and what clips it. */
export function gradientNorm({ device, memory }: OpHost, gradients: readonly Tensor[], maxNorm: number): Tensor {
  const { pieces, partials } = piecesOf(device, gradients)
  const norm = memory.make([2], 'f32')
  const shared = [reducePart(device), SQUARES]
  memory.scratch(partials * PARTIAL_BYTES, (sums) => {
    for (const { gradient, window, firstPartial } of pieces) {
      device.launch({
        kernel: { name: 'gradient_squares', parts: [GRID, ...shared, GRADIENT_SQUARES] },
        element: elementTypeOf(gradient),
        constants: {},
        bindings: [read(windowSlice(memory.slice(gradient), window, bytesPerElement[gradient.dtype])), write(sums)],
        params: packParams(GradientSquaresParams, { count: window.count, firstPartial }),
        grid: gridOf(Math.ceil(window.count / OWNED)),
      })
    }
    device.launch({
      kernel: { name: 'gradient_norm', parts: [...shared, GRADIENT_NORM] },
      element: 'f32',
      constants: {},
      bindings: [read(sums), write(memory.slice(norm))],
      params: packParams(GradientNormParams, { partials, maxNorm: Math.min(maxNorm, LARGEST_FLOAT) }),
      grid: [1, 1, 1],
    })
  })
  return norm
}

function piecesOf(device: GpuDevice, gradients: readonly Tensor[]): { pieces: readonly Piece[]; partials: number } {
  const mostBytes = device.gpu.limits.maxStorageBufferBindingSize
  const pieces: Piece[] = []
  let partials = 0
  for (const gradient of gradients) {
    for (const window of windowsOf(elementCount(gradient.shape), bytesPerElement[gradient.dtype], mostBytes)) {
      pieces.push({ gradient, window, firstPartial: partials })
      partials += Math.ceil(window.count / OWNED)
    }
  }
  return { pieces, partials }
}
