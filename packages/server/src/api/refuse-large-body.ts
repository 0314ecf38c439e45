import { once } from 'node:events'
import type { Context } from 'hono'
import type { ApiEnvironment } from './api-environment.js'
import { ApiError } from './api-error.js'

/** Time for the rest of a body that is not wanted. */
const REST_MILLISECONDS = 1000

/**
 * Lets the rest of the body pass first, for a moment: a client that still sends when the connection ends does not see the answer. Where more comes, the
 * connection ends with it, because no other request can follow.
 * @throws ApiError 413
 */
export async function refuseLargeBody(c: Context<ApiEnvironment>, maxBodyBytes: number): Promise<never> {
  const incoming = c.env?.incoming
  // A body without a length is being read already.
  if (incoming && !incoming.complete && c.req.header('content-length') !== undefined) {
    const signal = AbortSignal.timeout(REST_MILLISECONDS)
    // Too slow, or gone: then it is refused at once.
    await once(incoming.resume(), 'end', { signal }).catch(() => undefined)
  }
  if (!incoming?.complete) c.header('connection', 'close')
  throw new ApiError(413, `the body is larger than ${maxBodyBytes} bytes, the most that this server takes; shorten it.`, {
    code: 'body_too_large',
  })
}
