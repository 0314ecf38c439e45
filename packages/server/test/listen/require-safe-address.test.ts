import { expect, test } from 'vitest'
import { requireSafeAddress } from '../../src/listen/require-safe-address.js'

test.each(['127.0.0.1', '127.8.0.1', '::1', 'localhost', 'LocalHost'])('%s needs no key', (host) => {
  expect(() => requireSafeAddress(host, false)).not.toThrow()
})

test.each(['0.0.0.0', '::', '10.0.0.5', '::ffff:127.0.0.1', '127.example.org', '1270.0.0.1', '', 'localhost.example'])(
  '%j needs a key',
  (host) => {
    expect(() => requireSafeAddress(host, false)).toThrow(/there are no API keys/)
    expect(() => requireSafeAddress(host, true)).not.toThrow()
  },
)
