import { InvalidConfigError } from '@phsa/core'
import { expect, test } from 'vitest'
import { completeSettings } from '../../src/api/api-settings.js'

test('what is undefined keeps its default, so that no bound is lost', () => {
  const { maxChoices, maxPrompts, allowedOrigins } = completeSettings(
    { stopTokenIds: [], maxChoices: undefined, maxPrompts: 2, allowedOrigins: undefined },
    64,
  )
  expect({ maxChoices, maxPrompts, allowedOrigins }).toEqual({ maxChoices: 16, maxPrompts: 2, allowedOrigins: [] })
})

test('an origin that no browser sends is refused, since nothing would ever match it', () => {
  for (const origin of ['*', 'https://*.example.com', 'https://example.com/', 'https://Example.com', 'example.com', '']) {
    expect(() => completeSettings({ stopTokenIds: [], allowedOrigins: ['https://a.example', origin] }, 64)).toThrow(InvalidConfigError)
  }
  const allowedOrigins = ['https://example.com', 'http://localhost:3000', 'http://[::1]:3000', 'chrome-extension://abcdef']
  expect(completeSettings({ stopTokenIds: [], allowedOrigins }, 64).allowedOrigins).toEqual(allowedOrigins)
})
