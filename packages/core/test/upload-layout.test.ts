import { describe, expect, test } from 'vitest'
import { disposeLayout, PackedLayout, ShapeError, uploadLayout, writeLayout } from '../src/index.js'
import { elements, hostBackend } from './host-backend.js'

const packed = new PackedLayout([5, 20], 8, [5, 2])

describe('uploadLayout', () => {
  test('exact capacities unless more are asked for', () => {
    const { memory } = hostBackend()
    const layout = uploadLayout(memory, packed)
    expect(layout).toMatchObject({ sequences: 2, queryTokens: 7, keyTokens: 25, blocks: 4, maxBlocks: 3, maxQueries: 5, blockSize: 8 })
    expect(elements(memory, layout.keyStarts)).toEqual([0, 5, 25])
    expect(elements(memory, layout.queryStarts)).toEqual([0, 5, 7])
    expect(elements(memory, layout.blockStarts)).toEqual([0, 1, 4])
  })

  test('unused sequences start where the last one ends', () => {
    const { memory } = hostBackend()
    const layout = uploadLayout(memory, packed, { sequences: 4, keyTokens: 64 })
    expect(elements(memory, layout.keyStarts)).toEqual([0, 5, 25, 25, 25])
    expect(layout).toMatchObject({ sequences: 4, keyTokens: 64, queryTokens: 7 })
  })

  test('is rewritten in place, shorter or longer, within its capacities', () => {
    const { memory } = hostBackend()
    const layout = uploadLayout(memory, packed, { sequences: 3, queryTokens: 40, keyTokens: 40, blocks: 8, maxBlocks: 5, maxQueries: 40 })
    const tensor = layout.keyStarts
    writeLayout(memory, layout, new PackedLayout([40], 8))
    expect(elements(memory, layout.keyStarts)).toEqual([0, 40, 40, 40])
    expect(elements(memory, layout.blockStarts)).toEqual([0, 5, 5, 5])
    expect(layout.keyStarts).toBe(tensor)
    expect(() => writeLayout(memory, layout, new PackedLayout([41], 8))).toThrow('needs queryTokens 41 but has room for 40')
  })

  test.each([
    ['sequences', { sequences: 1 }],
    ['queryTokens', { queryTokens: 6 }],
    ['keyTokens', { keyTokens: 24 }],
    ['blocks', { blocks: 3 }],
    ['maxBlocks', { maxBlocks: 2 }],
    ['maxQueries', { maxQueries: 4 }],
  ])('refuses a capacity below the need: %s', (name, capacity) => {
    const { memory } = hostBackend()
    expect(() => uploadLayout(memory, packed, capacity)).toThrow(ShapeError)
    expect(() => uploadLayout(memory, packed, capacity)).toThrow(`needs ${name}`)
    expect(memory.usage().tensors).toBe(0)
  })

  test('is not rewritten with blocks of another size', () => {
    const { memory } = hostBackend()
    const layout = uploadLayout(memory, packed)
    expect(() => writeLayout(memory, layout, new PackedLayout([5], 16))).toThrow('blocks of 16 tokens, the uploaded one of 8')
  })

  test('disposeLayout frees all of it', () => {
    const { memory } = hostBackend()
    const layout = uploadLayout(memory, packed)
    expect(memory.usage().tensors).toBe(3)
    disposeLayout(layout)
    expect(memory.usage().tensors).toBe(0)
  })
})
