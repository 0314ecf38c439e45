import { describe, expect, test } from 'vitest'
import { attentionSpec, denseSpec, measureRecall, PackedLayout, phsaConfig, ShapeError, uploadLayout } from '../src/index.js'
import { elements, hostBackend } from './host-backend.js'

// A = 24. Two sequences: 48 keys with their last 16 as queries (positions 32 to 47), 30 keys that all are (0 to 29).
const packed = new PackedLayout([48, 30], 8, [16, 30])
const spec = attentionSpec(phsaConfig({ blockSize: 8, initTokens: 8, localTokens: 8, topK: 1 }), {
  heads: 2,
  kvHeads: 2,
  headDim: 4,
  dtype: 'f32',
})
const half = [0, 0.5, 0, 0.25, 0.25, 0]
const none = [0, 0, 0, 0, 0, 0]

/** All masses of one row are `half`, and of a row of none 0, as the contract has it. */
function massBackend(asked: number[][] = []) {
  return hostBackend({
    blockMass: (memory, { rows }) => {
      const list = elements(memory, rows)
      asked.push(list)
      const row = list.flatMap((query) => (query < 0 ? none : half))
      return memory.upload(Float32Array.from([...row, ...row]), [2, list.length, 6])
    },
  })
}

function recallInput({ memory }: ReturnType<typeof massBackend>, rows: number[]) {
  const selected = new Int32Array(2 * 46).fill(-1)
  selected[3] = 1 // KV head 0, row 3: the oracle's block
  selected[46 + 3] = 3 // KV head 1, row 3: another one
  return {
    q: memory.alloc([46, 2, 4], 'f32'),
    k: memory.alloc([78, 2, 4], 'f32'),
    packed,
    layout: uploadLayout(memory, packed),
    rows: Int32Array.from(rows),
    chosen: { selected: memory.upload(selected, [2, 46, 1]), spec },
  }
}

describe('measureRecall', () => {
  test('measures the sampled rows past A and frees what it made', async () => {
    const asked: number[][] = []
    const backend = massBackend(asked)
    // Row 3 stands at position 35; row 20 is position 4 of the second sequence, before A.
    const input = recallInput(backend, [3, 20])
    const before = backend.memory.usage().tensors
    const [measured] = await measureRecall(backend, input, [input.chosen])
    // Block 4 is local at position 35: head 0 sees 0.5 + 0.25, head 1 sees 0.25 + 0.25.
    expect(measured).toEqual({ recall: 0.625, byHead: [0.75, 0.5], loss: 0.375, queries: 1, selectionRecall: 0.5 })
    expect(asked).toEqual([[3, -1]])
    expect(backend.memory.usage().tensors).toBe(before)
  })

  test('counts from another position where one is given', async () => {
    const backend = massBackend()
    const input = recallInput(backend, [3, 20, 45])
    const [{ queries }] = await measureRecall(backend, { ...input, past: 4 }, [input.chosen])
    expect(queries).toBe(3)
  })

  test('without chosen blocks there is no selection recall', async () => {
    const backend = massBackend()
    const input = recallInput(backend, [3])
    const selected = backend.memory.alloc([2, 46, 0], 'i32')
    const [measured] = await measureRecall(backend, input, [{ selected, spec: { ...spec, topK: 0 } }])
    expect(measured).toEqual({ recall: 0.25, byHead: [0.25, 0.25], loss: 0.75, queries: 1 })
  })

  test('several selections share the masses and count the same positions; dense has nothing to choose', async () => {
    const asked: number[][] = []
    const backend = massBackend(asked)
    const input = recallInput(backend, [3])
    const nothing = backend.memory.alloc([2, 46, 0], 'i32')
    const measured = await measureRecall(backend, input, [
      { spec: { ...spec, topK: 0 } },
      input.chosen,
      { spec },
      { selected: nothing, spec: denseSpec(spec) },
    ])
    // Without a selection it is the oracle's: block 1 of both heads.
    expect(measured).toEqual([
      { recall: 0.25, byHead: [0.25, 0.25], loss: 0.75, queries: 1 },
      { recall: 0.625, byHead: [0.75, 0.5], loss: 0.375, queries: 1, selectionRecall: 0.5 },
      { recall: 0.75, byHead: [0.75, 0.75], loss: 0.25, queries: 1, selectionRecall: 1 },
      { recall: 1, byHead: [1, 1], loss: 0, queries: 1 },
    ])
    expect(asked).toEqual([[3]])
  })

  test('frees what it made when it fails', async () => {
    const backend = massBackend()
    const input = recallInput(backend, [20])
    const before = backend.memory.usage().tensors
    await expect(measureRecall(backend, input, [input.chosen])).rejects.toThrow('no measured query stands at position 24 or later')
    expect(backend.memory.usage().tensors).toBe(before)
  })

  test.each([46, -1])('row %d is outside the layout', async (row) => {
    const backend = massBackend()
    const input = recallInput(backend, [row])
    await expect(measureRecall(backend, input, [input.chosen])).rejects.toBeInstanceOf(ShapeError)
  })
})
