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
  if (!(await hasPassed(c.req.raw.body))) c.header('connection', 'close')
  throw new ApiError(413, `the body is larger than ${maxBodyBytes} bytes, the most that this server takes; shorten it.`, {
    code: 'body_too_large',
  })
}

async function hasPassed(body: ReadableStream<Uint8Array> | null): Promise<boolean> {
  // One without a length is being read already.
  if (!body || body.locked) return false
  const options = { signal: AbortSignal.timeout(REST_MILLISECONDS), preventCancel: true }
  return body.pipeTo(new WritableStream(), options).then(
    () => true,
    () => false,
  )
}
