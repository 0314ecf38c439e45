import { expect, test } from 'vitest'
import type { AttentionSettings } from '../src/lab-contract.js'
import { blocksSeen, massLevel } from '../src/page/block-views.js'
import { latest } from '../src/page/latest.js'
import { moveQuery } from '../src/page/query-keys.js'
import { meanOfLayers, placeOf } from '../src/page/recall-figure.js'
import { withBlockSize } from '../src/page/trained-settings.js'
import { whileRunning } from '../src/page/while-running.js'

const settings: AttentionSettings = { blockSize: 16, initTokens: 16, localTokens: 32, topK: 2, lambda: 0.5 }

test('a query sees the first blocks, its window and what was chosen', () => {
  const seen = blocksSeen(130, 100, settings, { blocks: [2], recall: 1 })
  expect(seen).toEqual(['forced', 'no', 'chosen', 'no', 'no', 'forced', 'forced', 'later', 'later'])
})

test('levels of attention begin at their shares', () => {
  expect([0, 0.0029, 0.003, 0.02, 0.5].map(massLevel)).toEqual([0, 0, 1, 3, 5])
})

test('windows stay multiples of the block', () => {
  expect(withBlockSize({ ...settings, localTokens: 48 }, 64)).toEqual({ ...settings, blockSize: 64, initTokens: 64, localTokens: 64 })
  expect(withBlockSize({ ...settings, initTokens: 0 }, 32)).toMatchObject({ initTokens: 0, localTokens: 32 })
})

test('keys move by tokens and blocks and stay in the text; others do not move', () => {
  expect(['ArrowLeft', 'ArrowDown', 'PageUp', 'Home', 'End'].map((key) => moveQuery(key, 20, 40, 16))).toEqual([19, 36, 0, 0, 39])
  expect(['Tab', 'a', 'toString'].map((key) => moveQuery(key, 20, 40, 16))).toEqual([undefined, undefined, undefined])
})

test('a budget stands between the ticks that double', () => {
  const budgets = [0, 1, 2, 4, 8]
  expect([0, 1, 2, 4].map((topK) => placeOf(topK, budgets))).toEqual([0, 1, 2, 3])
  expect(placeOf(3, budgets)).toBeCloseTo(2.585, 3)
  expect(placeOf(9, budgets)).toBeUndefined()
})

test('the curve is the mean of the layers that were measured', () => {
  const point = (recall: number) => ({ method: 'phsa' as const, topK: 1, recall })
  expect(meanOfLayers([[point(0.5)], [point(1)], []])).toEqual([point(0.75)])
  expect(meanOfLayers([])).toEqual([])
})

test('of inputs that come while one is worked on only the newest is kept', async () => {
  const seen: number[] = []
  let finish = () => {}
  const run = latest(async (input: number) => {
    seen.push(input)
    await new Promise<void>((resolve) => {
      finish = resolve
    })
  })
  for (const input of [1, 2, 3]) run(input)
  expect(seen).toEqual([1])
  finish()
  await expect.poll(() => seen).toEqual([1, 3])
  finish()
})

test('a report that comes after the result is not passed on', async () => {
  const said: string[] = []
  let late = (_: string) => {}
  const result = whileRunning(
    (words: string) => said.push(words),
    async (report) => {
      late = report
      report('half')
      return 'all'
    },
  )
  expect(await result).toBe('all')
  late('nearly all')
  expect(said).toEqual(['half'])
})
