import {
  type Attention,
  candidateBlocks,
  checkAttendBackwardInput,
  checkAttendInput,
  checkBlockMassInput,
  checkPoolBackwardInput,
  checkPoolInput,
  checkSelectInput,
  checkSelectionLossBackwardInput,
  checkSelectionLossInput,
  checkSelectTopInput,
  type SelectInput,
} from '@phsa/core'
import type { TfjsMemory } from '../memory/tfjs-memory.js'
import { attendBackwardChunks } from './attend-backward.js'
import { attendChunks } from './attend-chunks.js'
import { blockMass } from './block-mass.js'
import { listedQueries, packedSequences } from './packed-sequences.js'
import { hostWeights, poolBlocks, poolBlocksBackward } from './pool-blocks.js'
import { consecutive } from './query-group.js'
import { type SelectingSequence, selectChunks } from './score-blocks.js'
import { selectionLoss } from './selection-loss.js'
import { TopScores } from './top-scores.js'

/** `Attention` on packed sequences: each method checks, reads its tensors, calls its kernel and stores the result. */
export function tfjsAttention(memory: TfjsMemory): Attention {
  const { owner } = memory
  return {
    poolBlocks(input) {
      memory.checkOpen()
      checkPoolInput(owner, input)
      const { k, weights, layout, spec } = input
      return memory.run(() => {
        const reps = poolBlocks(memory.host(k), hostWeights(memory, weights), packedSequences(memory, layout, spec), layout, spec)
        return memory.fromHost(reps, [spec.kvHeads, layout.blocks * spec.representatives, spec.headDim])
      })
    },

    poolBlocksBackward(input) {
      memory.checkOpen()
      checkPoolBackwardInput(owner, input)
      const { k, weights, layout, spec, dReps, dk, dLambda } = input
      memory.run(() => {
        const gradients = { dk: memory.writable(dk), dLambda: dLambda && memory.writable(dLambda) }
        const sequences = packedSequences(memory, layout, spec)
        poolBlocksBackward(memory.host(dReps), memory.host(k), hostWeights(memory, weights), gradients, sequences, layout, spec)
      })
    },

    selectBlocks(input) {
      memory.checkOpen()
      checkSelectInput(owner, input)
      const { q, reps, layout, spec } = input
      return memory.run(() => {
        const selected = new Int32Array(spec.kvHeads * layout.queryTokens * spec.topK).fill(-1)
        const arrays = { q: () => memory.host(q), reps: () => memory.host(reps) }
        selectChunks(arrays, selectingSequences(memory, input), spec, selected, layout.queryTokens, spec.topK)
        return memory.fromIntegers(selected, [spec.kvHeads, layout.queryTokens, spec.topK])
      })
    },

    selectTop(input) {
      memory.checkOpen()
      checkSelectTopInput(owner, input)
      const { layout, spec } = input
      const rows = memory.integers(input.rows)
      memory.run(() => {
        const scores = memory.host(input.scores)
        const selected = memory.integers(input.selected)
        const offset = (kvHead: number, row: number) => (kvHead * layout.queryTokens + row) * spec.topK
        for (let kvHead = 0; kvHead < spec.kvHeads; kvHead++) {
          for (const row of rows) if (row >= 0) selected.fill(-1, offset(kvHead, row), offset(kvHead, row) + spec.topK)
        }
        const top = new TopScores(spec.topK)
        for (const { queries } of listedQueries(rows, packedSequences(memory, layout, spec))) {
          for (const { index, row, position } of queries) {
            const candidates = candidateBlocks(spec, position)
            for (let kvHead = 0; kvHead < spec.kvHeads; kvHead++) {
              const at = kvHead * rows.length + index
              top.pick(scores, at * layout.maxBlocks, candidates, spec.topK, selected, offset(kvHead, row))
            }
          }
        }
      })
    },

    attend(input) {
      memory.checkOpen()
      checkAttendInput(owner, input)
      const { q, k, v, layout, spec } = input
      return memory.run(() => {
        const arrays = { q: () => memory.host(q), k: () => memory.host(k), v: () => memory.host(v) }
        const sequences = packedSequences(memory, layout, spec)
        const { out, lse } = attendChunks(arrays, sequences, spec, {
          blocks: memory.integers(input.selected),
          queryTokens: layout.queryTokens,
          topK: spec.topK,
        })
        return { out: memory.fromHost(out, q.shape), lse: memory.fromHost(lse, [layout.queryTokens, spec.heads]) }
      })
    },

    attendBackward(input) {
      memory.checkOpen()
      checkAttendBackwardInput(owner, input)
      const { q, k, v, out, lse, dOut, layout, spec } = input
      return memory.run(() => {
        const host = (tensor: typeof q) => () => memory.host(tensor)
        const arrays = { q: host(q), k: host(k), v: host(v), out: host(out), dOut: host(dOut), lse: host(lse) }
        const keyElements = layout.keyTokens * spec.kvHeads * spec.headDim
        const dq = new Float32Array(layout.queryTokens * spec.heads * spec.headDim)
        const gradients = { dq, dk: new Float32Array(keyElements), dv: new Float32Array(keyElements) }
        const sequences = packedSequences(memory, layout, spec)
        attendBackwardChunks(arrays, gradients, sequences, spec, {
          blocks: memory.integers(input.selected),
          queryTokens: layout.queryTokens,
          topK: spec.topK,
        })
        return {
          dq: memory.fromHost(gradients.dq, q.shape),
          dk: memory.fromHost(gradients.dk, k.shape),
          dv: memory.fromHost(gradients.dv, v.shape),
        }
      })
    },

    blockMass(input) {
      memory.checkOpen()
      checkBlockMassInput(owner, input)
      const { q, k, layout, spec } = input
      const rows = memory.integers(input.rows)
      return memory.run(() => {
        const arrays = { q: () => memory.host(q), k: () => memory.host(k) }
        const mass = blockMass(arrays, rows, packedSequences(memory, layout, spec), layout, spec)
        return memory.fromHost(mass, [spec.kvHeads, rows.length, layout.maxBlocks])
      })
    },

    selectionLoss(input) {
      memory.checkOpen()
      checkSelectionLossInput(owner, input)
      const { q, reps, mass, rows, layout, spec } = input
      return memory.run(() => {
        const masses = memory.host(mass).slice()
        const arrays = { q: () => memory.host(q), reps: () => memory.host(reps), mass: masses, rows: memory.integers(rows) }
        const loss = selectionLoss(arrays, packedSequences(memory, layout, spec), layout, spec)
        return memory.fromHost(Float32Array.of(loss), [1])
      })
    },

    selectionLossBackward(input) {
      memory.checkOpen()
      checkSelectionLossBackwardInput(owner, input)
      const { q, reps, mass, rows, layout, spec, coefficient, dq } = input
      return memory.run(() => {
        const masses = memory.host(mass).slice()
        const arrays = { q: () => memory.host(q), reps: () => memory.host(reps), mass: masses, rows: memory.integers(rows) }
        const dReps = new Float32Array(spec.kvHeads * layout.blocks * spec.representatives * spec.headDim)
        const gradients = { coefficient, dq: memory.writable(dq), dReps }
        const loss = selectionLoss(arrays, packedSequences(memory, layout, spec), layout, spec, gradients)
        return { loss: memory.fromHost(Float32Array.of(loss), [1]), dReps: memory.fromHost(dReps, reps.shape) }
      })
    },
  }
}

function selectingSequences(memory: TfjsMemory, { layout, spec }: SelectInput): SelectingSequence[] {
  const { representatives, topK } = spec
  return packedSequences(memory, layout, spec).map((sequence) => ({
    ...sequence,
    topK,
    representatives: (kvHead, count) => {
      const first = (kvHead * layout.blocks + sequence.blockStart) * representatives
      return { heads: 1, head: 0, rows: consecutive(first, count) }
    },
  }))
}
