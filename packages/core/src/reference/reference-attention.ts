import {
  checkAttendBackwardInput,
  checkAttendInput,
  checkBlockMassInput,
  checkPoolBackwardInput,
  checkPoolInput,
  checkSelectInput,
  checkSelectionLossBackwardInput,
  checkSelectionLossInput,
  checkSelectTopInput,
} from '../checks/check-attention.js'
import type { AttendInput, Attention, PoolInput, SelectionLossInput } from '../contract/attention.js'
import type { Layout, TokenWeights } from '../contract/layout.js'
import { derivedDType } from '../derived-dtype.js'
import { attend } from './attend.js'
import { attendBackward } from './attend-backward.js'
import { blockMass } from './block-mass.js'
import type { HostLayout } from './host-layout.js'
import type { HostMemory } from './host-memory.js'
import { type HostTokenWeights, poolBlocks, poolBlocksBackward } from './pool-blocks.js'
import { selectBlocks } from './select-blocks.js'
import { selectTop } from './select-top.js'
import { selectionLoss, selectionLossBackward } from './selection-loss.js'

/** `Attention` of the reference backend: each method checks, reads its tensors, calls the kernel of the same name and stores the result. */
export function referenceAttention(memory: HostMemory): Attention {
  const { owner } = memory

  const hostLayout = (layout: Layout): HostLayout => ({
    ...layout,
    queryStarts: memory.integers(layout.queryStarts),
    keyStarts: memory.integers(layout.keyStarts),
    blockStarts: memory.integers(layout.blockStarts),
  })
  const hostWeights = (weights: TokenWeights): HostTokenWeights =>
    weights.kind === 'fused'
      ? { kind: 'fused', weights: memory.reals(weights.weights) }
      : {
          kind: 'branches',
          global: memory.reals(weights.global),
          punctuation: memory.reals(weights.punctuation),
          lambda: memory.reals(weights.lambda),
        }
  const poolArrays = ({ k, weights }: PoolInput) => ({ k: memory.reals(k), weights: hostWeights(weights) })
  const attendArrays = ({ q, k, v, selected }: AttendInput) => ({
    q: memory.reals(q),
    k: memory.reals(k),
    v: memory.reals(v),
    selected: memory.integers(selected),
  })
  const lossArrays = ({ q, reps, mass, rows }: SelectionLossInput) => ({
    q: memory.reals(q),
    reps: memory.reals(reps),
    mass: memory.reals(mass),
    rows: memory.integers(rows),
  })

  return {
    poolBlocks(input) {
      checkPoolInput(owner, input)
      const { layout, spec } = input
      const reps = poolBlocks(poolArrays(input), hostLayout(layout), spec)
      return memory.make(reps, [spec.kvHeads, layout.blocks * spec.representatives, spec.headDim], derivedDType(spec.dtype))
    },

    poolBlocksBackward(input) {
      checkPoolBackwardInput(owner, input)
      const arrays = { ...poolArrays(input), dReps: memory.reals(input.dReps) }
      const { dk, dLambda } = poolBlocksBackward(arrays, hostLayout(input.layout), input.spec)
      memory.accumulate(input.dk, dk)
      if (input.dLambda) memory.accumulate(input.dLambda, dLambda)
    },

    selectBlocks(input) {
      checkSelectInput(owner, input)
      const { q, reps, layout, spec } = input
      const selected = selectBlocks({ q: memory.reals(q), reps: memory.reals(reps) }, hostLayout(layout), spec)
      return memory.make(selected, [spec.kvHeads, layout.queryTokens, spec.topK], 'i32')
    },

    selectTop(input) {
      checkSelectTopInput(owner, input)
      const { scores, rows, selected, layout, spec } = input
      const arrays = { scores: memory.reals(scores), rows: memory.integers(rows), selected: memory.integers(selected) }
      selectTop(arrays, hostLayout(layout), spec)
    },

    attend(input) {
      checkAttendInput(owner, input)
      const { q, layout, spec } = input
      const { out, lse } = attend(attendArrays(input), hostLayout(layout), spec)
      return {
        out: memory.make(out, q.shape, spec.dtype),
        lse: memory.make(lse, [layout.queryTokens, spec.heads], derivedDType(spec.dtype)),
      }
    },

    attendBackward(input) {
      checkAttendBackwardInput(owner, input)
      const { q, k, v, out, lse, dOut, layout, spec } = input
      const arrays = { ...attendArrays(input), out: memory.reals(out), lse: memory.reals(lse), dOut: memory.reals(dOut) }
      const { dq, dk, dv } = attendBackward(arrays, hostLayout(layout), spec)
      return {
        dq: memory.make(dq, q.shape, spec.dtype),
        dk: memory.make(dk, k.shape, spec.dtype),
        dv: memory.make(dv, v.shape, spec.dtype),
      }
    },

    blockMass(input) {
      checkBlockMassInput(owner, input)
      const { q, k, rows, layout, spec } = input
      const mass = blockMass({ q: memory.reals(q), k: memory.reals(k), rows: memory.integers(rows) }, hostLayout(layout), spec)
      return memory.make(mass, [spec.kvHeads, rows.shape[0], layout.maxBlocks], derivedDType(spec.dtype))
    },

    selectionLoss(input) {
      checkSelectionLossInput(owner, input)
      const loss = selectionLoss(lossArrays(input), hostLayout(input.layout), input.spec)
      return memory.make([loss], [1], derivedDType(input.spec.dtype))
    },

    selectionLossBackward(input) {
      checkSelectionLossBackwardInput(owner, input)
      const { reps, layout, spec, coefficient } = input
      const { loss, dq, dReps } = selectionLossBackward(lossArrays(input), hostLayout(layout), spec, coefficient)
      memory.accumulate(input.dq, dq)
      const derived = derivedDType(spec.dtype)
      return { loss: memory.make([loss], [1], derived), dReps: memory.make(dReps, reps.shape, derived) }
    },
  }
}
