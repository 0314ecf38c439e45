import { type AdamwOptions, type AdamwParameter, bytesPerElement, elementCount, type Tensor } from '@phsa/core'
import adamwSource from '../../kernels/adamw.wgsl?raw'
import adamwMasterSource from '../../kernels/adamw_master.wgsl?raw'
import adamwValueSource from '../../kernels/adamw_value.wgsl?raw'
import gridSource from '../../kernels/grid.wgsl?raw'
import { read, write } from '../device/bindings.js'
import { gridOf } from '../device/grid.js'
import { packParams } from '../device/param-layout.js'
import { elementTypeOf, vectorTypesWith } from './element-types.js'
import type { OpHost } from './op-host.js'
import { windowSlice, windowsOf } from './windows.js'

/** `Params` of adamw.wgsl. */
export const AdamwParams = {
  count: 'u32',
  beta1: 'f32',
  beta2: 'f32',
  meanShare: 'f32',
  varianceShare: 'f32',
  epsilon: 'f32',
  weightDecay: 'f32',
} as const

const GRID = { file: 'grid.wgsl', source: gridSource }
const GRADIENT_TYPES = vectorTypesWith('Gradient')
const ADAMW = { file: 'adamw.wgsl', source: adamwSource }
const VALUE = { file: 'adamw_value.wgsl', source: adamwValueSource }
const MASTER = { file: 'adamw_master.wgsl', source: adamwMasterSource }
/** Elements of a workgroup of adamw.wgsl. */
const ELEMENTS = 1024

/** One AdamW step over all parameters, which may be larger than a binding. */
export function adamw(
  { device, memory }: OpHost,
  parameters: readonly AdamwParameter[],
  control: Tensor,
  norm: Tensor,
  { beta1, beta2, epsilon }: AdamwOptions,
): void {
  const mostBytes = device.gpu.limits.maxStorageBufferBindingSize
  for (const { value, gradient, mean, variance, master, weightDecay } of parameters) {
    const parts = [GRID, GRADIENT_TYPES[elementTypeOf(gradient)][1], ADAMW, master ? MASTER : VALUE]
    // Windows of the widest element, for all of its tensors.
    for (const window of windowsOf(elementCount(value.shape), Float32Array.BYTES_PER_ELEMENT, mostBytes)) {
      const part = (tensor: Tensor) => windowSlice(memory.slice(tensor), window, bytesPerElement[tensor.dtype])
      device.launch({
        kernel: { name: 'adamw', parts },
        element: elementTypeOf(value),
        constants: {},
        bindings: [
          read(memory.slice(control)),
          read(memory.slice(norm)),
          read(part(gradient)),
          write(part(mean)),
          write(part(variance)),
          write(part(value)),
          ...(master ? [write(part(master))] : []),
        ],
        params: packParams(AdamwParams, {
          count: window.count,
          beta1,
          beta2,
          // In float64: 1 - beta of a rounded beta would be off by a thousandth.
          meanShare: 1 - beta1,
          varianceShare: 1 - beta2,
          epsilon,
          weightDecay,
        }),
        grid: gridOf(Math.ceil(window.count / ELEMENTS)),
      })
    }
  }
}
