import { PhsaError } from '@phsa/core'

/** An address cannot be listened on; the message says why and what to give instead. Code `listen`. */
export class ListenError extends PhsaError {
  constructor(message: string, options?: ErrorOptions) {
    super('listen', message, options)
  }
}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'is in use by another program; give another port, or end that program',
  EACCES: 'may not be listened on by this user; give a port above 1023',
  EADDRNOTAVAIL: 'is no address of this machine; give one of its own, such as 127.0.0.1',
  ENOTFOUND: 'is no name that this machine knows; give an address, such as 127.0.0.1',
}

/** What the system says about an address, in words for people. */
export function listenError(host: string, port: number, cause: NodeJS.ErrnoException): ListenError {
  const reason = REASONS[cause.code ?? ''] ?? `cannot be listened on (${cause.message})`
  return new ListenError(`${host}:${port} ${reason}.`, { cause })
}
