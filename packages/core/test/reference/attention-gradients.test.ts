import { expect, test } from 'vitest'
import { attend } from '../../src/reference/attend.js'
import { attendBackward } from '../../src/reference/attend-backward.js'
import { blockMass } from '../../src/reference/block-mass.js'
import { poolBlocks, poolBlocksBackward } from '../../src/reference/pool-blocks.js'
import { selectBlocks } from '../../src/reference/select-blocks.js'
import { selectionLoss, selectionLossBackward } from '../../src/reference/selection-loss.js'
import { expectClose } from './close.js'
import { inner, normals, numericalGradient } from './numerical-gradient.js'
import { problem, smallSpec } from './small-problem.js'

test('attendBackward agrees with finite differences, the selection held fixed', () => {
  const spec = { ...smallSpec, denseBelow: 5 }
  const { q, k, v, weights, layout } = problem(spec, [23, 7])
  const selected = selectBlocks({ q, reps: poolBlocks({ k, weights }, layout, spec) }, layout, spec)
  const { out, lse } = attend({ q, k, v, selected }, layout, spec)
  const dOut = normals(out.length, 4)
  const { dq, dk, dv } = attendBackward({ q, k, v, selected, out, lse, dOut }, layout, spec)
  const objective = (changed: object) => inner(attend({ q, k, v, selected, ...changed }, layout, spec).out, dOut)
  expectClose(
    dq,
    numericalGradient(q, (moved) => objective({ q: moved })),
    1e-8,
  )
  expectClose(
    dk,
    numericalGradient(k, (moved) => objective({ k: moved })),
    1e-8,
  )
  expectClose(
    dv,
    numericalGradient(v, (moved) => objective({ v: moved })),
    1e-8,
  )
})

test('poolBlocksBackward agrees with finite differences in k and lambda', () => {
  const { k, weights, layout } = problem(smallSpec, [14, 3])
  if (weights.kind !== 'branches') throw new Error('the problem has branch weights')
  const dReps = normals(poolBlocks({ k, weights }, layout, smallSpec).length, 5)
  const { dk, dLambda } = poolBlocksBackward({ k, weights, dReps }, layout, smallSpec)
  const objective = (changed: object, lambda = weights.lambda) =>
    inner(poolBlocks({ k, weights: { ...weights, lambda }, ...changed }, layout, smallSpec), dReps)
  expectClose(
    dk,
    numericalGradient(k, (moved) => objective({ k: moved })),
    1e-8,
  )
  expectClose(
    dLambda,
    numericalGradient(Float64Array.from(weights.lambda), (moved) => objective({}, moved)),
    1e-8,
  )

  const fused = { kind: 'fused', weights: weights.global } as const
  const fusedObjective = (moved: Float64Array) => inner(poolBlocks({ k: moved, weights: fused }, layout, smallSpec), dReps)
  expectClose(poolBlocksBackward({ k, weights: fused, dReps }, layout, smallSpec).dk, numericalGradient(k, fusedObjective), 1e-8)
})

test('selectionLossBackward agrees with finite differences in q, and in k and lambda through the representatives', () => {
  const spec = { ...smallSpec, denseBelow: 12 }
  const { q, k, weights, layout } = problem(spec, [23, 18])
  if (weights.kind !== 'branches') throw new Error('the problem has branch weights')
  const rows = Int32Array.of(2, 9, 22, -1, 35, 40)
  const mass = blockMass({ q, k, rows }, layout, spec)
  const objective = (changed: { q?: Float64Array; k?: Float64Array; lambda?: Float64Array }) => {
    const reps = poolBlocks({ k: changed.k ?? k, weights: { ...weights, lambda: changed.lambda ?? weights.lambda } }, layout, spec)
    return 0.5 * selectionLoss({ q: changed.q ?? q, reps, mass, rows }, layout, spec)
  }
  const reps = poolBlocks({ k, weights }, layout, spec)
  const { dq, dReps, loss } = selectionLossBackward({ q, reps, mass, rows }, layout, spec, 0.5)
  const { dk, dLambda } = poolBlocksBackward({ k, weights, dReps }, layout, spec)
  expect(loss).toBeGreaterThan(0)
  expectClose(
    dq,
    numericalGradient(q, (moved) => objective({ q: moved })),
    1e-8,
  )
  expectClose(
    dk,
    numericalGradient(k, (moved) => objective({ k: moved })),
    1e-8,
  )
  expectClose(
    dLambda,
    numericalGradient(Float64Array.from(weights.lambda), (moved) => objective({ lambda: moved })),
    1e-8,
  )
  // Row 9 stands below denseBelow and counts all the same.
  const others = rows.filter((row) => row !== 9)
  const without = selectionLoss({ q, reps, mass: blockMass({ q, k, rows: others }, layout, spec), rows: others }, layout, spec)
  expect(Math.abs(without - loss)).toBeGreaterThan(1e-6)
})

test('the selection loss is 0 without candidates, and stays finite where the student gives a block no share', () => {
  const { q, k, weights, layout } = problem(smallSpec, [23])
  const reps = poolBlocks({ k, weights }, layout, smallSpec)
  const early = Int32Array.of(0, 3, -1)
  const nothing = selectionLossBackward(
    { q, reps, mass: blockMass({ q, k, rows: early }, layout, smallSpec), rows: early },
    layout,
    smallSpec,
    1,
  )
  expect(nothing.loss).toBe(0)
  expect(nothing.dq.every((value) => value === 0)).toBe(true)

  const rows = Int32Array.of(22)
  const mass = new Float64Array(smallSpec.kvHeads * layout.maxBlocks).fill(1)
  const steep = reps.map((value) => value * 1e4)
  const { loss, dq } = selectionLossBackward({ q, reps: steep, mass, rows }, layout, smallSpec, 1)
  expect(loss).toBeGreaterThan(745)
  expect(Number.isFinite(loss)).toBe(true)
  expect(dq.every(Number.isFinite)).toBe(true)
})

test('blocks without teacher mass add nothing to the selection loss, and their representatives still get a gradient', () => {
  const { q, k, weights, layout } = problem(smallSpec, [23])
  const reps = poolBlocks({ k, weights }, layout, smallSpec)
  const rows = Int32Array.of(22)
  const mass = blockMass({ q, k, rows }, layout, smallSpec).map((value, index) => (index % layout.maxBlocks === 2 ? 0 : value))
  const { dReps, dq } = selectionLossBackward({ q, reps, mass, rows }, layout, smallSpec, 1)
  const objective = (changed: object) => selectionLoss({ q, reps, mass, rows, ...changed }, layout, smallSpec)
  expectClose(
    dReps,
    numericalGradient(reps, (moved) => objective({ reps: moved })),
    1e-8,
  )
  expectClose(
    dq,
    numericalGradient(q, (moved) => objective({ q: moved })),
    1e-8,
  )
  expect(objective({ mass: new Float64Array(mass.length) })).toBe(0)
})
