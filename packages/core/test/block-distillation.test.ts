import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  attentionSpec,
  blockDistillation,
  PackedLayout,
  PHSA_4K,
  RandomStream,
  sampleDistillationRows,
  uploadLayout,
  uploadTokenWeights,
} from '../src/index.js'
import { hostBackend } from './host-backend.js'

describe('sampleDistillationRows', () => {
  test('gives a sorted subset of the rows of each sequence, as many as asked or as there are', () => {
    const sequences = fc.array(fc.record({ keys: fc.nat(60), share: fc.double({ min: 0, max: 1, noNaN: true }) }), { maxLength: 5 })
    fc.assert(
      fc.property(sequences, fc.nat(40), fc.nat(), (drawn, perSequence, seed) => {
        const keys = drawn.map((sequence) => sequence.keys)
        const layout = new PackedLayout(
          keys,
          16,
          drawn.map((sequence) => Math.floor(sequence.keys * sequence.share)),
        )
        const rows = [...sampleDistillationRows(layout, perSequence, new RandomStream(seed))]
        expect(rows).toEqual([...new Set(rows)].sort((left, right) => left - right))
        for (let sequence = 0; sequence < layout.sequences; sequence++) {
          const own = rows.filter((row) => row >= layout.queryStarts[sequence] && row < layout.queryStarts[sequence + 1])
          expect(own).toHaveLength(Math.min(perSequence, layout.queryLengths[sequence]))
        }
        expect(rows.every((row) => row >= 0 && row < layout.totalQueries)).toBe(true)
      }),
    )
  })

  test('every row is drawn about equally often', () => {
    const random = new RandomStream(5)
    const layout = new PackedLayout([10], 16)
    const counts = new Array<number>(10).fill(0)
    for (let draw = 0; draw < 2000; draw++) for (const row of sampleDistillationRows(layout, 3, random)) counts[row]++
    // 600 expected, standard deviation 20.
    for (const count of counts) expect(Math.abs(count - 600)).toBeLessThan(100)
  })
})

test('blockDistillation hands masses and representatives on and keeps only the loss', () => {
  const backend = hostBackend({
    blockMass: (memory) => memory.alloc([2, 3, 2], 'f32'),
    poolBlocks: (memory) => memory.alloc([2, 2, 4], 'f32'),
    selectionLossBackward: (memory) => ({ loss: memory.alloc([1], 'f32'), dReps: memory.alloc([2, 2, 4], 'f32') }),
    poolBlocksBackward: () => undefined,
  })
  const { memory } = backend
  const packed = new PackedLayout([20], 16)
  const spec = attentionSpec(PHSA_4K, { heads: 4, kvHeads: 2, headDim: 4, dtype: 'f32' })
  const weights = uploadTokenWeights(memory, PHSA_4K, { layers: 1, kvHeads: 2 }, new Uint8Array(20), packed).forLayer(0)
  const tensors = { q: memory.alloc([20, 4, 4], 'f32'), k: memory.alloc([20, 2, 4], 'f32'), rows: memory.alloc([3], 'i32') }
  const gradients = { dq: memory.alloc([20, 4, 4], 'f32'), dk: memory.alloc([20, 2, 4], 'f32'), dLambda: memory.alloc([2], 'f32') }
  const layout = uploadLayout(memory, packed)
  const before = memory.usage().tensors
  const loss = blockDistillation(backend, { ...tensors, ...gradients, weights, layout, spec, coefficient: 0.25 })
  expect(loss.shape).toEqual([1])
  expect(memory.usage().tensors).toBe(before + 1)
  expect(backend.calls.map(({ kernel }) => kernel)).toEqual(['blockMass', 'poolBlocks', 'selectionLossBackward', 'poolBlocksBackward'])
  const [, , lossCall, poolCall] = backend.calls
  expect(lossCall.input).toMatchObject({ coefficient: 0.25, rows: tensors.rows, dq: gradients.dq })
  expect(lossCall.input.mass).toMatchObject({ shape: [2, 3, 2] })
  expect(poolCall.input).toMatchObject({ dk: gradients.dk, dLambda: gradients.dLambda, weights })
  expect(poolCall.input.dReps).toMatchObject({ shape: [2, 2, 4] })
})
