import type { Tensor } from '@phsa/core'
import type { KernelDevice, KernelMemory } from '../attention/kernel-host.js'
import { packParams } from '../attention/param-layout.js'
import { ColumnSumsParams } from './op-params.js'

/** kColumnThreads of column_sums.cu, and the columns of a thread block. */
const THREADS = 1024
const COLUMNS = 32

/**
 * Lends memory for partial sums of a weight's gradient to the launches of `run`, and adds their sums to it.
 * @param dWeight [width], f32 or bf16
 * @param rows partial sums of dWeight that `run` has written, all of them
 */
export function addPartialSums(
  device: KernelDevice,
  memory: KernelMemory,
  dWeight: Tensor,
  rows: number,
  run: (partials: bigint) => void,
): void {
  const [width] = dWeight.shape
  memory.scratch(rows * width * Float32Array.BYTES_PER_ELEMENT, ({ address: partials }) => {
    run(partials)
    device.launch({
      kernel: `add_column_sums_${dWeight.dtype}`,
      grid: [Math.ceil(width / COLUMNS), 1, 1],
      block: THREADS,
      params: packParams(ColumnSumsParams, { partials, target: memory.address(dWeight), rows, width }),
    })
  })
}
