import convertSource from '../../kernels/convert.wgsl?raw'
import gridSource from '../../kernels/grid.wgsl?raw'
import type { GpuDevice } from '../device/gpu-device.js'
import { gridOf } from '../device/grid.js'
import type { BufferSlice } from '../device/kernel-launch.js'
import { packParams } from '../device/param-layout.js'

/** `Params` of convert.wgsl. */
export const ConvertParams = { count: 'u32', toElement: 'u32' } as const

const KERNEL = {
  name: 'convert',
  parts: [
    { file: 'grid.wgsl', source: gridSource },
    { file: 'convert.wgsl', source: convertSource },
  ],
}
/** Elements a workgroup converts. */
const ELEMENTS = 256 * 4

/** Queues a copy of elements from f32 to f16, or from f16 to f32. */
export function convert(device: GpuDevice, source: BufferSlice, target: BufferSlice, from: 'f32' | 'f16' | 'i32', count: number): void {
  const toElement = from === 'f32'
  const [single, element] = toElement ? [source, target] : [target, source]
  device.launch({
    kernel: KERNEL,
    element: 'f16',
    constants: {},
    bindings: [
      { ...single, access: 'write' },
      { ...element, access: 'write' },
    ],
    params: packParams(ConvertParams, { count, toElement: toElement ? 1 : 0 }),
    grid: gridOf(Math.ceil(count / ELEMENTS)),
  })
}
