import { expect, test } from 'vitest'
import { crossEntropy, crossEntropyBackward } from '../../src/reference/ops/cross-entropy.js'
import { embedding, embeddingBackward } from '../../src/reference/ops/embedding.js'
import { linear, linearBackward } from '../../src/reference/ops/linear.js'
import { qkNormRope, qkNormRopeBackward } from '../../src/reference/ops/qk-norm-rope.js'
import { rmsNorm, rmsNormBackward } from '../../src/reference/ops/rms-norm.js'
import { swiglu, swigluBackward } from '../../src/reference/ops/swiglu.js'
import { expectClose } from './close.js'
import { inner, normals, numericalGradient } from './numerical-gradient.js'

const bound = 1e-8

test('embedding', () => {
  const table = normals(5 * 3, 1)
  const ids = Int32Array.of(2, -1, 0, 2)
  const dOut = normals(4 * 3, 2)
  expect([...embedding(table, ids, 3).subarray(3, 6)]).toEqual([0, 0, 0])
  expect([...embedding(table, ids, 3).subarray(9)]).toEqual([...table.subarray(6, 9)])
  expectClose(
    embeddingBackward(dOut, ids, 3, 5),
    numericalGradient(table, (moved) => inner(embedding(moved, ids, 3), dOut)),
    bound,
  )
  expect(() => embedding(table, Int32Array.of(5), 3)).toThrow(/ids\[0\] is 5; the table has rows 0 to 4/)
  expect(() => embeddingBackward(dOut, Int32Array.of(-2, 0, 0, 0), 3, 5)).toThrow(/ids\[0\] is -2/)
})

test('rmsNorm', () => {
  const [x, weight, dy] = [normals(12, 1), normals(4, 2), normals(12, 3)]
  const { dx, dWeight } = rmsNormBackward(dy, x, weight, 1e-2)
  expectClose(
    dx,
    numericalGradient(x, (moved) => inner(rmsNorm(moved, weight, 1e-2), dy)),
    bound,
  )
  expectClose(
    dWeight,
    numericalGradient(weight, (moved) => inner(rmsNorm(x, moved, 1e-2), dy)),
    bound,
  )
  expectClose(rmsNorm(Float64Array.of(3, 4), Float64Array.of(1, 2), 0), [3 / Math.sqrt(12.5), 8 / Math.sqrt(12.5)], 1e-15)
})

test('linear', () => {
  const extents = { inputs: 4, outputs: 3 }
  const [x, weight, dy] = [normals(8, 1), normals(12, 2), normals(6, 3)]
  const { dx, dWeight } = linearBackward(dy, x, weight, extents)
  expectClose(
    dx,
    numericalGradient(x, (moved) => inner(linear(moved, weight, extents), dy)),
    bound,
  )
  expectClose(
    dWeight,
    numericalGradient(weight, (moved) => inner(linear(x, moved, extents), dy)),
    bound,
  )
  expect([...linear(Float64Array.of(1, 2), Float64Array.of(3, 4, 5, 6), { inputs: 2, outputs: 2 })]).toEqual([11, 17])
})

test('qkNormRope', () => {
  const angles = [0, 0.5, 1, 0, 2, 3]
  const input = {
    x: normals(2 * 3 * 4, 1),
    weight: normals(4, 2),
    positions: Int32Array.of(2, 1),
    cos: Float64Array.from(angles, Math.cos),
    sin: Float64Array.from(angles, Math.sin),
    epsilon: 1e-3,
  }
  const dy = normals(24, 3)
  const { dx, dWeight } = qkNormRopeBackward(dy, input)
  expectClose(
    dx,
    numericalGradient(input.x, (x) => inner(qkNormRope({ ...input, x }), dy)),
    bound,
  )
  expectClose(
    dWeight,
    numericalGradient(input.weight, (weight) => inner(qkNormRope({ ...input, weight }), dy)),
    bound,
  )
  // A quarter turn carries the first half to the second, and the second to minus the first.
  const quarter = {
    x: Float64Array.of(1, 1, 1, 1),
    weight: Float64Array.of(1, 2, 3, 4),
    positions: Int32Array.of(0),
    cos: new Float64Array(2),
    sin: Float64Array.of(1, 1),
    epsilon: 0,
  }
  expect([...qkNormRope(quarter)]).toEqual([-3, -4, 1, 2])
  expect(() => qkNormRope({ ...input, positions: Int32Array.of(0, 3) })).toThrow(
    /positions\[1\] is 3; the rotary table has positions 0 to 2/,
  )
})

test('swiglu', () => {
  const [gate, up, dy] = [normals(6, 1), normals(6, 2), normals(6, 3)]
  const { dGate, dUp } = swigluBackward(dy, gate, up)
  expectClose(
    dGate,
    numericalGradient(gate, (moved) => inner(swiglu(moved, up), dy)),
    bound,
  )
  expectClose(
    dUp,
    numericalGradient(up, (moved) => inner(swiglu(gate, moved), dy)),
    bound,
  )
  expect([...swiglu(Float64Array.of(-1e4, 1e4), Float64Array.of(1, 2))]).toEqual([-0, 2e4])
})

test('crossEntropy', () => {
  const input = {
    hidden: normals(4 * 3, 1),
    head: normals(5 * 3, 2),
    targets: Int32Array.of(1, 99, 4, 1),
    weights: Float64Array.of(0.5, 0, 0.25, 2),
    width: 3,
  }
  const { loss, tokenLosses, dHidden, dHead } = crossEntropyBackward(input)
  expectClose(
    dHidden,
    numericalGradient(input.hidden, (hidden) => crossEntropy({ ...input, hidden }).loss),
    bound,
  )
  expectClose(
    dHead,
    numericalGradient(input.head, (head) => crossEntropy({ ...input, head }).loss),
    bound,
  )
  expect(crossEntropy(input)).toEqual({ loss, tokenLosses })
  expect(tokenLosses[1]).toBe(0)
  expect(loss).toBeCloseTo(inner(tokenLosses, input.weights), 12)
  const logits = linear(input.hidden.subarray(0, 3), input.head, { inputs: 3, outputs: 5 })
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0)
  expect(tokenLosses[0]).toBeCloseTo(-Math.log(Math.exp(logits[1]) / total), 12)
  expect(() => crossEntropy({ ...input, weights: new Float64Array(4).fill(1) })).toThrow(/targets\[1\] is 99; ids are 0 to 4/)
})
