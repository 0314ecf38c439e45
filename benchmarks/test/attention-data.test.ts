import { attentionSpec, candidateBlocks, PHSA_32K } from '@phsa/core'
import { expect, test } from 'vitest'
import { AttentionDataSource, type DataKind } from '../attention/attention-data.js'
import { exactRepresentatives, exactScores } from '../attention/exact-rows.js'
import { neighbourOverlap } from '../attention/neighbour-overlap.js'
import { NormalPool } from '../attention/normal-pool.js'
import { roundToBfloat16 } from '../attention/round-to-bfloat16.js'

const DRAWN = 2 ** 16
/** Mean over the layers of a small trained model, at 4,096 tokens (benchmarks/README.md). */
const TRAINED_OVERLAP = 0.31

test('values from the pool are standard normal and what bf16 holds, and the seed decides them', () => {
  const pool = new NormalPool(1, DRAWN)
  const values = pool.take(50_000, 7)
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const variance = values.reduce((sum, value) => sum + value * value, 0) / values.length
  expect(Math.abs(mean)).toBeLessThan(0.03)
  expect(Math.abs(variance - 1)).toBeLessThan(0.05)
  expect(roundToBfloat16(values.slice())).toEqual(values)
  expect(pool.take(50_000, 7)).toEqual(values)
  expect(pool.take(50_000, 8)).not.toEqual(values)
})

test.each([
  [1.00390625, 1],
  [1.01171875, 1.015625],
  [-1.005, -1.0078125],
  [-0.1, -0.10009765625],
])('%f rounds to %f', (value, expected) => {
  expect(roundToBfloat16(Float32Array.of(value))[0]).toBeCloseTo(expected, 12)
})

test('data A: neighbours choose more alike than by chance, and no more than in a trained model; data B: hardly ever', () => {
  const chance = 16 / 2000
  const [wandering, independent] = [overlapAt(32_768, 'A'), overlapAt(32_768, 'B')]
  expect(wandering).toBeGreaterThan(5 * chance)
  expect(wandering).toBeLessThan(TRAINED_OVERLAP)
  expect(independent).toBeLessThan(0.1)
})

/** Overlap over sampled pairs of neighbours of one KV head with two query heads. */
function overlapAt(length: number, kind: DataKind): number {
  const spec = attentionSpec({ ...PHSA_32K, topK: 16 }, { heads: 2, kvHeads: 1, headDim: 128, dtype: 'bf16' })
  const data = new AttentionDataSource(DRAWN).make({ ...spec, length }, kind, 1)
  const problem = { ...data, dOut: data.q, weights: new Float32Array(length).fill(1 / spec.blockSize), length }
  const representatives = exactRepresentatives(problem, spec)
  const choose = (position: number) => {
    const scores = exactScores(problem, spec, representatives, position, 0)
    const { start, end } = candidateBlocks(spec, position)
    const candidates = Array.from({ length: end - start }, (_, index) => start + index)
    return candidates
      .sort((left, right) => scores[right] - scores[left])
      .slice(0, spec.topK)
      .sort((left, right) => left - right)
  }
  // Spread over the sequence, and over the way from one anchor to the next.
  const pairs = Array.from({ length: 24 }, (_, index) => Math.floor((length * (index + 8)) / 32) - 1 - 37 * index)
  const shares = pairs.map((position) => {
    const selected = [...choose(position - 1), ...choose(position)]
    return neighbourOverlap({ selected, kvHeads: 1, length: 2, topK: spec.topK }, 1) ?? Number.NaN
  })
  return shares.reduce((sum, share) => sum + share, 0) / shares.length
}

test('the overlap counts blocks that two neighbours share, and only from the given position on', () => {
  const selected = [1, 2, 3, 2, 3, 4, 2, 5, -1, 7, 8, -1]
  expect(neighbourOverlap({ selected, kvHeads: 1, length: 4, topK: 3 }, 1)).toBeCloseTo((2 + 1 + 0) / 9)
  expect(neighbourOverlap({ selected, kvHeads: 1, length: 4, topK: 3 }, 3)).toBe(0)
  expect(neighbourOverlap({ selected, kvHeads: 2, length: 2, topK: 3 }, 1)).toBeCloseTo((2 + 0) / 6)
  expect(neighbourOverlap({ selected, kvHeads: 1, length: 4, topK: 3 }, 4)).toBeUndefined()
})

test.each(['A', 'B'] as const)('data %s: a short sequence is the beginning of a longer one, whichever was made first', (kind) => {
  const shape = { heads: 4, kvHeads: 2, headDim: 32, blockSize: 16 }
  const made = (source: AttentionDataSource, length: number) => {
    const { q, k, v } = source.make({ ...shape, length }, kind, 1)
    return { q: q.slice(), k: k.slice(), v: v.slice() }
  }
  const alone = made(new AttentionDataSource(DRAWN), 150)
  const source = new AttentionDataSource(DRAWN)
  const long = made(source, 400)
  expect(made(source, 150)).toEqual(alone)
  expect(long.q.subarray(0, alone.q.length)).toEqual(alone.q)
  expect(made(source, 400)).toEqual(long)
  // Other data in the same arrays, then the first again.
  source.make({ ...shape, length: 400 }, kind === 'A' ? 'B' : 'A', 1)
  expect(made(source, 150)).toEqual(alone)
})
