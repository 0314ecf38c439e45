import { checkQkNormRope, checkQkNormRopeBackward, type ModelOps, type QkNormRopeInput, type Tensor } from '@phsa/core'
import type { KernelDevice, KernelMemory } from '../attention/kernel-host.js'
import { packParams } from '../attention/param-layout.js'
import { addPartialSums } from './column-sums.js'
import { vectorOf } from './elements.js'
import { QkNormRopeBackwardParams, QkNormRopeParams } from './op-params.js'

/** kRowThreads and kRowWarps of row_groups.cuh. */
const THREADS = 256
const WARPS = 8
const LANES = 32
/** Rows that the lanes of a row take one after the other: kTogether of qk_norm_rope.cu. */
const ROWS_TOGETHER = 4
/** Bytes of a tensor's rows in the ring, kStages of them: two 16-byte vectors a thread. */
const RING_BYTES = 4 * 2 * 16 * THREADS
/** Thread blocks a multiprocessor, which go through all rows. Forward, `any` takes a warp a row. */
const FORWARD_BLOCKS = 3
const BACKWARD_BLOCKS = { vector: 2, any: 4 }

/** RMS norm of heads with rotary positions, and its gradients. */
export function qkNormRopeOps(device: KernelDevice, memory: KernelMemory): Pick<ModelOps, 'qkNormRope' | 'qkNormRopeBackward'> {
  const { owner } = memory
  return {
    qkNormRope(input) {
      memory.checkOpen()
      checkQkNormRope(owner, input)
      const { x, weight } = input
      const owners = rowOwners(x)
      const { rows, ...fields } = sharedFields(memory, input)
      const blocks = owners
        ? Math.min(Math.ceil(rows / ((THREADS / owners) * ROWS_TOGETHER)), FORWARD_BLOCKS * device.multiprocessors)
        : Math.ceil(rows / WARPS)
      return memory.scope(() => {
        const y = memory.make(x.shape, x.dtype)
        device.launch({
          kernel: `qk_norm_rope_${x.dtype}_${weight.dtype}_${owners ? 'vector' : 'any'}`,
          grid: [blocks, 1, 1],
          block: THREADS,
          sharedBytes: owners ? RING_BYTES : 0,
          params: packParams(QkNormRopeParams, { ...fields, y: memory.address(y), rows }),
        })
        return y
      })
    },

    qkNormRopeBackward(dy, input, dWeight) {
      memory.checkOpen()
      checkQkNormRopeBackward(owner, dy, input, dWeight)
      const { x, weight } = input
      const owners = rowOwners(x)
      const form = owners ? 'vector' : 'any'
      const fields = sharedFields(memory, input)
      const rowsOfBlock = owners ? (THREADS / owners) * ROWS_TOGETHER : WARPS
      const blocks = Math.min(Math.ceil(fields.rows / rowsOfBlock), BACKWARD_BLOCKS[form] * device.multiprocessors)
      return memory.scope(() => {
        const dx = memory.make(x.shape, x.dtype)
        addPartialSums(device, memory, dWeight, owners ? blocks : blocks * WARPS, (partials) =>
          device.launch({
            kernel: `qk_norm_rope_backward_${x.dtype}_${weight.dtype}_${form}`,
            grid: [blocks, 1, 1],
            block: THREADS,
            sharedBytes: owners ? 2 * RING_BYTES : 0,
            params: packParams(QkNormRopeBackwardParams, { ...fields, dy: memory.address(dy), dx: memory.address(dx), partials }),
          }),
        )
        return dx
      })
    },
  }
}

function sharedFields(memory: KernelMemory, { x, weight, positions, rope, epsilon }: QkNormRopeInput) {
  const [tokens, heads, headDim] = x.shape
  return {
    x: memory.address(x),
    weight: memory.address(weight),
    positions: memory.address(positions),
    cos: memory.address(rope.cos),
    sin: memory.address(rope.sin),
    rows: tokens * heads,
    heads,
    headDim,
    epsilon,
  }
}

/** Lanes that own a row, each with a vector of both halves; undefined where these are not so many as fit into a warp evenly. */
function rowOwners(x: Tensor): number | undefined {
  const owners = x.shape[2] / 2 / vectorOf(x)
  return Number.isInteger(Math.log2(owners)) && owners >= 1 && owners <= LANES ? owners : undefined
}
