import type { Tensor } from '@phsa/core'
import columnSumsSource from '../../kernels/column_sums.wgsl?raw'
import { read, write } from '../device/bindings.js'
import type { BufferSlice } from '../device/kernel-launch.js'
import { packParams } from '../device/param-layout.js'
import { elementTypeOf } from './element-types.js'
import type { OpHost } from './op-host.js'

/** `Params` of column_sums.wgsl. */
export const ColumnSumsParams = { rows: 'u32', width: 'u32' } as const

const KERNEL = { name: 'column_sums', parts: [{ file: 'column_sums.wgsl', source: columnSumsSource }] }
/** Columns of a workgroup of column_sums.wgsl. */
const COLUMNS = 32

/**
 * Lends memory for partial sums of a norm weight's gradient to the launches of `run`, and adds their sums to it.
 * @param dWeight [width]
 * @param rows partial sums f32 [width] that `run` has written, all of them
 */
export function addPartialSums({ device, memory }: OpHost, dWeight: Tensor, rows: number, run: (partials: BufferSlice) => void): void {
  const [width] = dWeight.shape
  memory.scratch(rows * width * Float32Array.BYTES_PER_ELEMENT, (partials) => {
    run(partials)
    device.launch({
      kernel: KERNEL,
      element: elementTypeOf(dWeight),
      constants: {},
      bindings: [read(partials), write(memory.slice(dWeight))],
      params: packParams(ColumnSumsParams, { rows, width }),
      grid: [Math.ceil(width / COLUMNS), 1, 1],
    })
  })
}
