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
import { blockMass } from './block-mass.js'
import { packedSequences, rulesOf } from './call-params.js'
import type { KernelDevice, KernelMemory } from './kernel-host.js'
import { poolBlocks, poolBlocksBackward } from './pool.js'
import { selectBlocks, selectTop } from './select.js'
import { selectionLoss, selectionLossBackward } from './selection-loss.js'

/** `Attention` on packed sequences: each method checks, makes its results and queues its kernels. */
export function cudaAttention(device: KernelDevice, memory: KernelMemory): Attention {
  const { owner } = memory
  return {
    poolBlocks(input) {
      memory.checkOpen()
      checkPoolInput(owner, input)
      return memory.scope(() => poolBlocks(device, memory, input))
    },

    poolBlocksBackward(input) {
      memory.checkOpen()
      checkPoolBackwardInput(owner, input)
      poolBlocksBackward(device, memory, input)
    },

    selectBlocks(input) {
      memory.checkOpen()
      checkSelectInput(owner, input)
      const { q, reps, layout, spec } = input
      return memory.scope(() => {
        const selected = memory.make([spec.kvHeads, layout.queryTokens, spec.topK], 'i32')
        selectBlocks(device, memory, spec, {
          q: memory.address(q),
          reps: memory.address(reps),
          selected: memory.address(selected),
          sequences: packedSequences(memory, layout),
          rules: rulesOf(spec),
        })
        return selected
      })
    },

    selectTop(input) {
      memory.checkOpen()
      checkSelectTopInput(owner, input)
      selectTop(device, memory, input)
    },

    attend(input) {
      memory.checkOpen()
      checkAttendInput(owner, input)
      const { q, k, v, selected, layout, spec } = input
      return memory.scope(() => {
        const out = memory.make(q.shape, spec.dtype)
        const lse = memory.make([layout.queryTokens, spec.heads], 'f32')
        attend(device, memory, spec, {
          q: memory.address(q),
          k: memory.address(k),
          v: memory.address(v),
          selected: memory.address(selected),
          out: memory.address(out),
          lse: memory.address(lse),
          sequences: packedSequences(memory, layout),
          rules: rulesOf(spec),
        })
        return { out, lse }
      })
    },

    attendBackward(input) {
      memory.checkOpen()
      checkAttendBackwardInput(owner, input)
      return memory.scope(() => attendBackward(device, memory, input))
    },

    blockMass(input) {
      memory.checkOpen()
      checkBlockMassInput(owner, input)
      return memory.scope(() => blockMass(device, memory, input))
    },

    selectionLoss(input) {
      memory.checkOpen()
      checkSelectionLossInput(owner, input)
      return memory.scope(() => selectionLoss(device, memory, input))
    },

    selectionLossBackward(input) {
      memory.checkOpen()
      checkSelectionLossBackwardInput(owner, input)
      return memory.scope(() => selectionLossBackward(device, memory, input))
    },
  }
}
