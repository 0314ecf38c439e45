import type { Context } from 'hono'
import type { ApiEnvironment } from './api-environment.js'
import type { ServerPhase } from './api-settings.js'

/** GET /health/live: this process answers. One whose engine has failed closes, and answers nothing any more. */
export function live(c: Context<ApiEnvironment>, phase: ServerPhase): Response {
  return c.json({ status: phase })
}

/** GET /health/ready and /health: whether new requests should be sent here. */
export function ready(c: Context<ApiEnvironment>, phase: ServerPhase): Response {
  return c.json({ status: phase }, phase === 'ready' ? 200 : 503)
}
