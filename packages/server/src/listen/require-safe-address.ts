import { isIPv4, isIPv6 } from 'node:net'
import { InvalidConfigError } from '@phsa/core'

/**
 * Other machines are let in only with keys.
 * @throws InvalidConfigError
 */
export function requireSafeAddress(host: string, hasKeys: boolean): void {
  if (hasKeys || isLoopback(host)) return
  throw new InvalidConfigError(
    'host',
    `${host} is reached from other machines, and there are no API keys: anybody could use the model. Give keys, or listen on 127.0.0.1.`,
  )
}

function isLoopback(host: string): boolean {
  if (isIPv4(host)) return host.startsWith('127.')
  if (isIPv6(host)) return host === '::1'
  // A name may mean any address.
  return host.toLowerCase() === 'localhost'
}
