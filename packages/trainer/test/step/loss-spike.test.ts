import { expect, test } from 'vitest'
import { lossSpike, withLoss } from '../../src/step/loss-spike.js'

/** Losses that fall slowly and are noisy by a tenth. */
const noisy = Array.from({ length: 40 }, (_, step) => 4 - step / 100 + 0.1 * Math.sin(7 * step))

/** The notes on a run of losses, by step. */
function notes(losses: readonly number[]): Map<number, number> {
  let recent: readonly number[] = []
  const found = new Map<number, number>()
  for (const [step, loss] of losses.entries()) {
    const spike = lossSpike(loss, recent)
    if (spike) found.set(step, spike.expected)
    recent = withLoss(recent, loss)
  }
  return found
}

test('noise is no spike, a loss far above it is, with the median as what was expected', () => {
  expect(notes(noisy).size).toBe(0)
  const found = notes([...noisy, 6, 3.7])
  expect([...found.keys()]).toEqual([40])
  expect(found.get(40)).toBeCloseTo(3.8, 1)
})

test('a low loss, one that is not finite and one without enough before it are none', () => {
  expect(notes([...noisy, 0.1, Number.NaN, Number.POSITIVE_INFINITY]).size).toBe(0)
  expect(notes([4, 4, 4, 40]).size).toBe(0)
})

test('where the loss stands still, its least changes are none', () => {
  const settled = new Array<number>(40).fill(0.02)
  expect(notes([...settled, 0.021]).size).toBe(0)
  expect([...notes([...settled, 0.022]).keys()]).toEqual([40])
})

test('a new level is expected once most of the losses looked back on have it, and losses that are not finite are not looked back on', () => {
  const found = notes([...noisy, ...new Array<number>(100).fill(9)])
  expect(found.size).toBeGreaterThan(10)
  expect(Math.max(...found.keys())).toBeLessThan(90)
  expect(withLoss(noisy, Number.NaN)).toEqual(noisy)
  expect(withLoss(new Array<number>(64).fill(1), 2)).toHaveLength(64)
})
