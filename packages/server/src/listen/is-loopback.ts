import { isIPv4, isIPv6 } from 'node:net'

/** Whether an address or name, IPv6 without brackets, can only mean this machine. */
export function isLoopback(host: string): boolean {
  if (isIPv4(host)) return host.startsWith('127.')
  if (isIPv6(host)) return host === '::1'
  // Any other name may mean any address.
  return host.toLowerCase() === 'localhost'
}
