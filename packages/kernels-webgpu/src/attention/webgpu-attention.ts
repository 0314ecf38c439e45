import {
  type Attention,
  checkAttendBackwardInput,
  checkAttendInput,
  checkBlockMassInput,
  checkPoolBackwardInput,
  checkPoolInput,
  checkSelectInput,
  checkSelectionLossBackwardInput,
  checkSelectionLossInput,
  checkSelectTopInput,
} from '@phsa/core'
import { attend } from './attend.js'
import { attendBackward } from './attend-backward.js'
import type { AttentionHost } from './attention-host.js'
import { blockMass } from './block-mass.js'
import { poolBlocks, poolBlocksBackward } from './pool.js'
import { selectBlocks } from './select.js'
import { selectTop } from './select-top.js'
import { selectionLoss, selectionLossBackward } from './selection-loss.js'

/** `Attention` on packed sequences: each method checks, makes its results and queues its kernels. */
export function webgpuAttention(host: AttentionHost): Attention {
  const { memory } = host
  const { owner } = memory
  return {
    poolBlocks(input) {
      memory.checkOpen()
      checkPoolInput(owner, input)
      return memory.scope(() => poolBlocks(host, input))
    },

    poolBlocksBackward(input) {
      memory.checkOpen()
      checkPoolBackwardInput(owner, input)
      memory.scope(() => poolBlocksBackward(host, input))
    },

    selectBlocks(input) {
      memory.checkOpen()
      checkSelectInput(owner, input)
      return memory.scope(() => selectBlocks(host, input))
    },

    selectTop(input) {
      memory.checkOpen()
      checkSelectTopInput(owner, input)
      selectTop(host, input)
    },

    attend(input) {
      memory.checkOpen()
      checkAttendInput(owner, input)
      return memory.scope(() => attend(host, input))
    },

    attendBackward(input) {
      memory.checkOpen()
      checkAttendBackwardInput(owner, input)
      return memory.scope(() => attendBackward(host, input))
    },

    blockMass(input) {
      memory.checkOpen()
      checkBlockMassInput(owner, input)
      return memory.scope(() => blockMass(host, input))
    },

    selectionLoss(input) {
      memory.checkOpen()
      checkSelectionLossInput(owner, input)
      return memory.scope(() => selectionLoss(host, input))
    },

    selectionLossBackward(input) {
      memory.checkOpen()
      checkSelectionLossBackwardInput(owner, input)
      return memory.scope(() => selectionLossBackward(host, input))
    },
  }
}
