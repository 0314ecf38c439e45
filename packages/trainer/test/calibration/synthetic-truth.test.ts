import { reference } from '@phsa/core'
import { expect, test } from 'vitest'
import { summarize } from '../../src/calibration/summarize.js'
import { syntheticPlan, syntheticWindow } from './synthetic-window.js'

async function calibrated(decisive: readonly boolean[]) {
  const backend = await reference()
  const windows = await Promise.all(Array.from({ length: 8 }, (_, seed) => syntheticWindow(backend, decisive, seed)))
  return summarize(windows.slice(0, 4), windows.slice(4), syntheticPlan(decisive))
}

test('where the decisive keys are punctuation a small lambda wins, and punctuation helps', async () => {
  const { lambda, verdict, heldOut, punctuation, layers } = await calibrated([true, true])
  for (const value of lambda[0]) expect(value).toBeLessThanOrEqual(0.5)
  expect(verdict).toBe('helps')
  expect(heldOut.gainOverOne.mean).toBeCloseTo(heldOut.calibrated - heldOut.one, 10)
  expect(heldOut.gainOverOne.interval![0]).toBeGreaterThan(0.05)
  expect(heldOut.calibrated).toBeLessThanOrEqual(heldOut.oracle)
  expect(punctuation.strongest).toBeGreaterThan(0.9)
  expect(punctuation.farKeys).toBeCloseTo(1 / 8, 5)
  for (const head of layers[0]!) expect(head.recall).toBeGreaterThan(head.recalls.at(-1)!)
})

test('where they are not, lambda 1 wins, and punctuation does not help', async () => {
  const { lambda, verdict, heldOut, punctuation } = await calibrated([false, false])
  for (const value of lambda[0]) expect(value).toBeGreaterThanOrEqual(0.75)
  expect(verdict).not.toBe('helps')
  expect(heldOut.gainOverHalf.interval![0]).toBeGreaterThan(0)
  expect(Math.abs(heldOut.gainOverOne.mean)).toBeLessThan(0.02)
  expect(punctuation.strongest).toBeLessThan(0.1)
})

test('each head gets its own', async () => {
  const { lambda, layers, settings } = await calibrated([true, false])
  expect(lambda[0][0]).toBeLessThanOrEqual(0.5)
  expect(lambda[0][1]).toBeGreaterThanOrEqual(0.75)
  expect(layers[0]!.map(({ strongestIsPunctuation }) => strongestIsPunctuation > 0.5)).toEqual([true, false])
  expect(settings.map(({ representatives, score }) => `${representatives} ${score}`)).toEqual(['1 softmax', '2 logit'])
  for (const { recalls, calibrated } of settings) expect(calibrated).toBeGreaterThan(Math.max(...recalls) - 0.01)
})
