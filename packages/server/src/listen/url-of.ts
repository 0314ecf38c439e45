import type { AddressInfo } from 'node:net'

/** Where clients find what listens on an address, such as `http://127.0.0.1:8000`. */
export function urlOf({ address, family, port }: AddressInfo): string {
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}
