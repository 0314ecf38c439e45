import { expect, test } from 'vitest'
import { gradientSlabs } from '../src/attention/gradient-slabs.js'

const SPEC = { heads: 8, kvHeads: 4, headDim: 128, topK: 2 }
const ROW_BYTES = 2 * 2 * 128 * 2

test.each([
  ['all at once', 100, 4 * 100 * ROW_BYTES, 1],
  ['two KV heads at a time', 100, 399 * ROW_BYTES, 4],
  ['rows of one KV head', 100, 30 * ROW_BYTES, 16],
  ['no room for a row', 3, 1, 12],
])('%s: every row of every KV head once, in order', (_, rows, most, count) => {
  const slabs = gradientSlabs(rows, SPEC, most)
  expect(slabs.length).toBeLessThanOrEqual(count)
  for (let kvHead = 0; kvHead < SPEC.kvHeads; kvHead++) {
    const own = slabs.filter((slab) => slab.firstKvHead <= kvHead && kvHead < slab.firstKvHead + slab.kvHeads)
    let next = 0
    for (const slab of own) {
      expect(slab.firstRow).toBe(next)
      next += slab.rows
      expect(slab.last).toBe(next === rows)
    }
    expect(next).toBe(rows)
  }
  for (const { bytes, rows, kvHeads } of slabs) {
    expect(bytes).toBe(rows * kvHeads * ROW_BYTES)
    if (most >= ROW_BYTES) expect(bytes).toBeLessThanOrEqual(most)
  }
})

test('without selected blocks or rows there is one slab, without parts of dq', () => {
  expect(gradientSlabs(5, { ...SPEC, topK: 0 }, 2 ** 31)).toEqual([
    { firstRow: 0, rows: 5, firstKvHead: 0, kvHeads: 4, last: true, bytes: 0 },
  ])
  expect(gradientSlabs(0, SPEC, 2 ** 31)).toEqual([{ firstRow: 0, rows: 0, firstKvHead: 0, kvHeads: 4, last: true, bytes: 0 }])
})
