import { describe, expect, test } from 'vitest'
import { tfjs } from '../src/index.js'
import { KEYS, splitSelection } from './split-selection.js'
import { testedEngines } from './tested-engines.js'

describe.each(testedEngines)('on %s', (engine) => {
  test.each([
    ['softmax', 1],
    ['softmax', 3],
    ['logit', 1],
    ['overlap', 1],
  ] as const)('any split selects the same blocks where scores nearly tie: %s, %i heads', async (score, group) => {
    const backend = await tfjs({ engine })
    const whole = await splitSelection(backend, score, group, [KEYS])
    expect(whole.filter((block) => block >= 0).length).toBeGreaterThan(KEYS)
    for (const steps of [[1], [7, 1, 100], [255, 3]]) expect(await splitSelection(backend, score, group, steps)).toEqual(whole)
    backend.dispose()
  })
})
