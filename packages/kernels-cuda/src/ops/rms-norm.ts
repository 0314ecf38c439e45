import { checkAddRmsNorm, checkRmsNorm, checkRmsNormBackward, type ModelOps, type Tensor } from '@phsa/core'
import type { KernelDevice, KernelMemory } from '../attention/kernel-host.js'
import { packParams } from '../attention/param-layout.js'
import { addPartialSums } from './column-sums.js'
import { vectorOf } from './elements.js'
import { RmsNormBackwardParams, RmsNormParams } from './op-params.js'

/** kRowThreads and kRowWarps of row_groups.cuh. */
const THREADS = 256
const WARPS = 8
const LANES = 32
/** Template arguments in rms_norm.cu: warps that own a row, vectors of a row that a thread holds, and rows in the ring. */
const OWNERS = [1, 2, 4, 8]
const HELD_VECTORS = 4
const STAGES = 2
/** Bytes of a row in the ring. */
const STAGE_BYTES = HELD_VECTORS * 16 * THREADS
/** Thread blocks a multiprocessor, which go through all rows: by the tensors that are read, as many as have room for their rings. */
const FORWARD_BLOCKS = { 1: 4, 2: 3 }
const BACKWARD_BLOCKS = 2

/** Which kernel takes rows of a width, and how. */
interface RowForm {
  /** End of the kernel's name. */
  readonly name: string
  /** Rows of a thread block at once. */
  readonly rows: number
  /** Thread blocks at most, and bytes of their ring. */
  readonly blocks: number
  readonly sharedBytes: number
}

/** RMS norm of rows and its gradients. */
export function rmsNormOps(device: KernelDevice, memory: KernelMemory): Pick<ModelOps, 'rmsNorm' | 'addRmsNorm' | 'rmsNormBackward'> {
  const { owner } = memory

  function norm(x: Tensor, weight: Tensor, epsilon: number, added?: { readonly other: Tensor; readonly sum: Tensor }): Tensor {
    const [rows, width] = x.shape
    const owners = rowOwners(x)
    const tensors = added ? 2 : 1
    const form: RowForm = owners
      ? {
          name: `w${owners}`,
          rows: WARPS / owners,
          blocks: FORWARD_BLOCKS[tensors] * device.multiprocessors,
          sharedBytes: tensors * STAGES * STAGE_BYTES,
        }
      : { name: 'any', rows: 1, blocks: rows, sharedBytes: 0 }
    const y = memory.make(x.shape, x.dtype)
    device.launch({
      kernel: `${added ? 'add_' : ''}rms_norm_${x.dtype}_${weight.dtype}_${form.name}`,
      grid: [Math.min(Math.ceil(rows / form.rows), form.blocks), 1, 1],
      block: THREADS,
      sharedBytes: form.sharedBytes,
      params: packParams(RmsNormParams, {
        x: memory.address(x),
        other: added ? memory.address(added.other) : 0n,
        sum: added ? memory.address(added.sum) : 0n,
        weight: memory.address(weight),
        y: memory.address(y),
        rows,
        width,
        epsilon,
      }),
    })
    return y
  }

  return {
    rmsNorm(x, weight, epsilon) {
      memory.checkOpen()
      checkRmsNorm(owner, x, weight)
      return memory.scope(() => norm(x, weight, epsilon))
    },

    addRmsNorm(a, b, weight, epsilon) {
      memory.checkOpen()
      checkAddRmsNorm(owner, a, b, weight)
      return memory.scope(() => {
        const sum = memory.make(a.shape, a.dtype)
        return { sum, normed: norm(a, weight, epsilon, { other: b, sum }) }
      })
    },

    rmsNormBackward(dy, x, weight, epsilon, dWeight) {
      memory.checkOpen()
      checkRmsNormBackward(owner, dy, x, weight, dWeight)
      const [rows, width] = x.shape
      const owners = rowOwners(x)
      const most = BACKWARD_BLOCKS * device.multiprocessors
      const form: RowForm = owners
        ? { name: `w${owners}`, rows: WARPS / owners, blocks: most, sharedBytes: 2 * STAGES * STAGE_BYTES }
        : { name: 'any', rows: 1, blocks: most, sharedBytes: 0 }
      const blocks = Math.min(Math.ceil(rows / form.rows), form.blocks)
      return memory.scope(() => {
        const dx = memory.make(x.shape, x.dtype)
        addPartialSums(device, memory, dWeight, blocks, (partials) =>
          device.launch({
            kernel: `rms_norm_backward_${x.dtype}_${weight.dtype}_${form.name}`,
            grid: [blocks, 1, 1],
            block: THREADS,
            sharedBytes: form.sharedBytes,
            params: packParams(RmsNormBackwardParams, {
              dy: memory.address(dy),
              x: memory.address(x),
              weight: memory.address(weight),
              dx: memory.address(dx),
              partials,
              rows,
              width,
              epsilon,
            }),
          }),
        )
        return dx
      })
    },
  }
}

/** Warps that own a row; undefined where it is no whole vectors, or too wide. */
function rowOwners(x: Tensor): number | undefined {
  const vectors = x.shape[1] / vectorOf(x)
  if (!Number.isInteger(vectors)) return undefined
  return OWNERS.find((owners) => vectors <= owners * LANES * HELD_VECTORS)
}
