import { expect, test } from 'vitest'
import { completeSettings } from '../../src/api/api-settings.js'

test('what is undefined keeps its default, so that no bound is lost', () => {
  const { maxChoices, maxPrompts, allowedOrigins } = completeSettings(
    { stopTokenIds: [], maxChoices: undefined, maxPrompts: 2, allowedOrigins: undefined },
    64,
  )
  expect({ maxChoices, maxPrompts, allowedOrigins }).toEqual({ maxChoices: 16, maxPrompts: 2, allowedOrigins: [] })
})
