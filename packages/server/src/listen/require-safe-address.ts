import { InvalidConfigError } from '@phsa/core'
import { isLoopback } from './is-loopback.js'

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
