import type { AttentionSpec, Support } from '@phsa/core'

const HEAD_DIMS = [32, 64, 128]
const BLOCK_SIZES = [8, 16, 32, 64]
const MOST_HEADS = 16
const MOST_REPRESENTATIVES = 32

/** Whether the kernels are written for a spec that is valid as such and whose dtype the device has; a no names the value and what is allowed. */
export function attentionSupport({ headDim, blockSize, heads, kvHeads, representatives }: AttentionSpec): Support {
  const no = (reason: string): Support => ({ ok: false, reason })
  if (!HEAD_DIMS.includes(headDim)) return no(`headDim is ${headDim}; webgpu has ${HEAD_DIMS.join(', ')}.`)
  if (!BLOCK_SIZES.includes(blockSize)) return no(`blockSize is ${blockSize}; webgpu has ${BLOCK_SIZES.join(', ')}.`)
  const group = heads / kvHeads
  if (group > MOST_HEADS) return no(`${heads} heads on ${kvHeads} KV heads are ${group} each; webgpu has 1 to ${MOST_HEADS}.`)
  if (representatives > MOST_REPRESENTATIVES)
    return no(`representatives is ${representatives}; webgpu has up to ${MOST_REPRESENTATIVES} a block.`)
  return { ok: true }
}
