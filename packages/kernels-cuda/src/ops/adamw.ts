import { checkAdamw, elementCount, type ModelOps } from '@phsa/core'
import type { KernelDevice, KernelMemory } from '../attention/kernel-host.js'
import { packParams } from '../attention/param-layout.js'
import { blockRanges } from './block-ranges.js'
import { typeNumber } from './elements.js'
import { AdamwParams } from './op-params.js'

/** kBlockElements and kThreads of adamw.cu. */
const BLOCK_ELEMENTS = 4096
const THREADS = 256
const [, MOST_TENSORS] = AdamwParams.tensors

/** AdamW over many parameters at once: addresses travel with the launch, so that it can be captured. */
export function adamwOps(device: KernelDevice, memory: KernelMemory): Pick<ModelOps, 'adamw'> {
  return {
    adamw(parameters, control, norm, { beta1, beta2, epsilon }) {
      memory.checkOpen()
      checkAdamw(memory.owner, parameters, control, norm)
      for (const { items, blocks } of blockRanges(parameters, MOST_TENSORS, ({ value }) =>
        Math.ceil(elementCount(value.shape) / BLOCK_ELEMENTS),
      )) {
        device.launch({
          kernel: 'adamw_step',
          grid: [blocks, 1, 1],
          block: THREADS,
          params: packParams(AdamwParams, {
            tensors: items.map(({ item, firstBlock }) => ({
              value: memory.address(item.value),
              gradient: memory.address(item.gradient),
              mean: memory.address(item.mean),
              variance: memory.address(item.variance),
              master: item.master ? memory.address(item.master) : 0n,
              count: elementCount(item.value.shape),
              firstBlock,
              valueType: typeNumber(item.value),
              gradientType: typeNumber(item.gradient),
              weightDecay: item.weightDecay,
            })),
            control: memory.address(control),
            norm: memory.address(norm),
            tensorsUsed: items.length,
            beta1,
            beta2,
            // In float64: 1 - beta of a rounded beta would be off by a thousandth.
            meanShare: 1 - beta1,
            varianceShare: 1 - beta2,
            epsilon,
          }),
        })
      }
    },
  }
}
