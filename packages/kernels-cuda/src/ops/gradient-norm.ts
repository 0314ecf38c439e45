import { checkGradientNorm, elementCount, type ModelOps } from '@phsa/core'
import type { KernelDevice, KernelMemory } from '../attention/kernel-host.js'
import { packParams } from '../attention/param-layout.js'
import { blockRanges } from './block-ranges.js'
import { typeNumber } from './elements.js'
import { GradientSquaresParams, GradientTotalParams } from './op-params.js'

/** kBlockElements, kSquareThreads and kTotalThreads of gradient_norm.cu. */
const BLOCK_ELEMENTS = 32768
const SQUARE_THREADS = 256
const TOTAL_THREADS = 1024
const [, MOST_SLICES] = GradientSquaresParams.slices

/** The norm of all gradients together, and what clips it. */
export function gradientNormOps(device: KernelDevice, memory: KernelMemory): Pick<ModelOps, 'gradientNorm'> {
  return {
    gradientNorm(gradients, maxNorm) {
      memory.checkOpen()
      checkGradientNorm(memory.owner, gradients)
      const ranges = blockRanges(gradients, MOST_SLICES, ({ shape }) => Math.ceil(elementCount(shape) / BLOCK_ELEMENTS))
      const blocks = ranges.reduce((sum, range) => sum + range.blocks, 0)
      return memory.scope(() => {
        const norm = memory.make([2], 'f32')
        memory.scratch(blocks * Float64Array.BYTES_PER_ELEMENT, ({ address: partials }) => {
          let firstPartial = 0
          for (const range of ranges) {
            device.launch({
              kernel: 'gradient_squares',
              grid: [range.blocks, 1, 1],
              block: SQUARE_THREADS,
              params: packParams(GradientSquaresParams, {
                slices: range.items.map(({ item, firstBlock }) => ({
                  values: memory.address(item),
                  count: elementCount(item.shape),
                  firstBlock,
                  type: typeNumber(item),
                })),
                partials: partials + BigInt(firstPartial * Float64Array.BYTES_PER_ELEMENT),
                slicesUsed: range.items.length,
                reserved: 0,
              }),
            })
            firstPartial += range.blocks
          }
          const params = packParams(GradientTotalParams, { partials, norm: memory.address(norm), count: blocks, maxNorm })
          device.launch({ kernel: 'gradient_total', grid: [1, 1, 1], block: TOTAL_THREADS, params })
        })
        return norm
      })
    },
  }
}
