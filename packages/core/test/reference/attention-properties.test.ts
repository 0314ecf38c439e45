import { describe, expect, test } from 'vitest'
import { denseSpec, type PackedLayout } from '../../src/index.js'
import { attend } from '../../src/reference/attend.js'
import { attendBackward } from '../../src/reference/attend-backward.js'
import { blockMass } from '../../src/reference/block-mass.js'
import type { HostLayout } from '../../src/reference/host-layout.js'
import { poolBlocks } from '../../src/reference/pool-blocks.js'
import { scoreBlocks } from '../../src/reference/score-blocks.js'
import { selectBlocks } from '../../src/reference/select-blocks.js'
import { selectTop } from '../../src/reference/select-top.js'
import { expectClose } from './close.js'
import { normals } from './numerical-gradient.js'
import { hostLayout, problem, smallSpec } from './small-problem.js'

const spec = { ...smallSpec, representatives: 1 }
const width = spec.heads * spec.headDim

test('a budget of the whole length equals dense attention, and so does a denseBelow beyond it', () => {
  const { q, k, v, weights, layout } = problem(spec, [27])
  const dense = attend({ q, k, v, selected: new Int32Array(0) }, layout, denseSpec(spec))
  for (const wide of [
    { ...spec, topK: 5 },
    { ...spec, localTokens: 28, topK: 0 },
    { ...spec, denseBelow: 27 },
  ]) {
    const selected = selectBlocks({ q, reps: poolBlocks({ k, weights }, layout, wide) }, layout, wide)
    const { out, lse } = attend({ q, k, v, selected }, layout, wide)
    expectClose(out, dense.out, 1e-12)
    expectClose(lse, dense.lse, 1e-12)
  }
})

describe.each(['softmax', 'logit'] as const)('score %s', (score) => {
  test('queries at the end of longer keys equal the same rows of the whole', () => {
    const scored = { ...spec, score }
    const whole = problem(scored, [27, 18])
    const reps = poolBlocks(whole, whole.layout, scored)
    const selected = selectBlocks({ q: whole.q, reps }, whole.layout, scored)
    const { out, lse } = attend({ ...whole, selected }, whole.layout, scored)
    const tail = problem(scored, [27, 18], [5, 1])
    const rows = [22, 23, 24, 25, 26, 44]
    const q = Float64Array.from(rows.flatMap((row) => [...whole.q.subarray(row * width, (row + 1) * width)]))
    const chosen = selectBlocks({ q, reps }, tail.layout, scored)
    const pick = (values: ArrayLike<number>, kvHead: number, row: number, of: number) =>
      Array.from({ length: scored.topK }, (_, index) => values[(kvHead * of + row) * scored.topK + index])
    for (const [index, row] of rows.entries()) {
      for (let kvHead = 0; kvHead < scored.kvHeads; kvHead++) {
        expect(pick(chosen, kvHead, index, rows.length)).toEqual(pick(selected, kvHead, row, 45))
      }
    }
    const result = attend({ ...whole, q, selected: chosen }, tail.layout, scored)
    expectClose(
      result.out,
      rows.flatMap((row) => [...out.subarray(row * width, (row + 1) * width)]),
      1e-12,
    )
    expectClose(
      result.lse,
      rows.flatMap((row) => [...lse.subarray(row * scored.heads, (row + 1) * scored.heads)]),
      1e-12,
    )
  })
})

test('rows that belong to no sequence give 0, -Infinity and -1, whatever they hold', () => {
  const { q, k, v, weights, packed } = problem(spec, [13])
  const layout = padded(packed, 15, 16)
  const poisoned = (values: Float64Array, length: number) => Float64Array.from({ length }, (_, index) => values[index] ?? Number.NaN)
  const arrays = {
    q: poisoned(q, 15 * width),
    k: poisoned(k, 16 * spec.kvHeads * spec.headDim),
    v: poisoned(v, 16 * spec.kvHeads * spec.headDim),
  }
  const reps = poolBlocks({ k: arrays.k, weights }, layout, spec)
  const selected = selectBlocks({ q: arrays.q, reps }, layout, spec)
  for (let kvHead = 0; kvHead < spec.kvHeads; kvHead++) {
    expect([...selected.subarray((kvHead * 15 + 13) * spec.topK, (kvHead * 15 + 15) * spec.topK)]).toEqual([-1, -1, -1, -1])
  }
  const { out, lse } = attend({ ...arrays, selected }, layout, spec)
  expect(out.subarray(13 * width).every((value) => value === 0)).toBe(true)
  expect(lse.subarray(13 * spec.heads).every((value) => value === Number.NEGATIVE_INFINITY)).toBe(true)
  const dOut = poisoned(normals(13 * width, 6), 15 * width)
  const { dq, dk, dv } = attendBackward({ ...arrays, selected, out, lse, dOut }, layout, spec)
  expect(dq.subarray(13 * width).every((value) => value === 0)).toBe(true)
  for (const gradient of [dk, dv]) {
    expect(gradient.every(Number.isFinite)).toBe(true)
    expect(gradient.subarray(13 * spec.kvHeads * spec.headDim).every((value) => value === 0)).toBe(true)
  }
  const mass = blockMass({ q: arrays.q, k: arrays.k, rows: Int32Array.of(14, -1) }, layout, spec)
  expect(mass.every((value) => value === 0)).toBe(true)
})

test('NaN in keys that no query of the KV head sees leaves everything finite and unchanged', () => {
  const { q, k, v, layout } = problem(spec, [27], [1])
  // Position 26 sees blocks 0, 6 and what is selected: block 2.
  const selected = Int32Array.of(2, -1, 2, -1)
  const arrays = { q, k, v, selected }
  const clean = attend(arrays, layout, spec)
  const hide = (values: Float64Array) =>
    values.map((value, index) =>
      [1, 3, 4, 5].includes(Math.floor(index / (spec.kvHeads * spec.headDim) / spec.blockSize)) ? Number.NaN : value,
    )
  const poisoned = { ...arrays, k: hide(k), v: hide(v) }
  expect(attend(poisoned, layout, spec)).toEqual(clean)
  const dOut = normals(width, 7)
  expect(attendBackward({ ...poisoned, ...clean, dOut }, layout, spec)).toEqual(attendBackward({ ...arrays, ...clean, dOut }, layout, spec))
})

test('ties go to the lower block, NaN loses to any number', () => {
  const { layout } = problem(spec, [27])
  // Candidates of position 26 are blocks 1 to 5.
  const { NaN: none } = Number
  const scores = Float64Array.of(9, 1, 2, 2, 2, 1, 9, none, none, none, 1, none, none, 0)
  const selected = new Int32Array(spec.kvHeads * 27 * spec.topK).fill(7)
  selectTop({ scores, rows: Int32Array.of(26), selected }, layout, spec)
  expect([...selected.subarray(26 * 2, 27 * 2)]).toEqual([2, 3])
  expect([...selected.subarray(53 * 2)]).toEqual([1, 3])
  expect(selected.subarray(0, 26 * 2).every((block) => block === 7)).toBe(true)
})

test('selectTop leaves rows that are not named, and clears a named row without candidates', () => {
  const { layout } = problem(spec, [27])
  const selected = new Int32Array(spec.kvHeads * 27 * spec.topK).fill(7)
  const scores = new Float64Array(spec.kvHeads * 2 * layout.maxBlocks)
  selectTop({ scores, rows: Int32Array.of(-1, 5), selected }, layout, spec)
  expect([...selected.subarray(5 * 2, 6 * 2)]).toEqual([-1, -1])
  expect(selected.filter((block) => block === -1)).toHaveLength(4)
})

test('block masses sum to the heads of the group over every block, the partial one included', () => {
  const { q, k, layout } = problem({ ...spec, denseBelow: 9 }, [27])
  const rows = Int32Array.of(26, 4)
  const mass = blockMass({ q, k, rows }, layout, { ...spec, denseBelow: 9 })
  for (let row = 0; row < spec.kvHeads * rows.length; row++) {
    const sum = mass.subarray(row * layout.maxBlocks, (row + 1) * layout.maxBlocks).reduce((total, part) => total + part, 0)
    expect(sum).toBeCloseTo(spec.heads / spec.kvHeads, 12)
  }
  expect(mass[6]).toBeGreaterThan(0)
})

test('overlap: kernels of two sub-blocks, seen when wholly past, and a block takes the largest that touches it', () => {
  const overlap = {
    ...spec,
    heads: 1,
    kvHeads: 1,
    headDim: 1,
    blockSize: 32,
    representatives: 2,
    initTokens: 0,
    localTokens: 32,
    score: 'overlap',
  } as const
  const reps = { values: Float64Array.of(1, 3, 5, -1, 2, 8, 100), offset: 0 }
  const queries = { values: Float64Array.of(1), offset: 0 }
  // 96 tokens: six sub-blocks, five kernels of means 2, 4, 2, 0.5, 5.
  const exponentials = [2, 4, 2, 0.5, 5].map(Math.exp)
  const total = exponentials.reduce((sum, part) => sum + part, 0)
  const share = (index: number) => exponentials[index] / total
  expectClose(scoreBlocks(queries, reps, overlap, 95), [share(1), share(1), share(4)], 1e-12)
  // One token less: the last kernel is not past, and only two blocks are complete.
  const lessTotal = total - exponentials[4]
  expectClose(scoreBlocks(queries, reps, overlap, 94), [exponentials[1] / lessTotal, exponentials[1] / lessTotal], 1e-12)
  const single = { ...overlap, blockSize: 16, representatives: 1 } as const
  expect([...scoreBlocks(queries, reps, single, 15)]).toEqual([0])
})

/** The layout with room for more rows than the sequences have, and an unused sequence. */
function padded(packed: PackedLayout, queryTokens: number, keyTokens: number): HostLayout {
  const extend = (starts: Int32Array) => Int32Array.of(...starts, starts[starts.length - 1])
  const layout = hostLayout(packed)
  return {
    ...layout,
    sequences: layout.sequences + 1,
    queryTokens,
    keyTokens,
    blocks: layout.blocks + 1,
    queryStarts: extend(layout.queryStarts),
    keyStarts: extend(layout.keyStarts),
    blockStarts: extend(layout.blockStarts),
  }
}
