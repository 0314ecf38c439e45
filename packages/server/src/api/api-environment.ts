import type { RequestRecord } from './request-record.js'

/** What hono carries from the first handler of a request to the last. */
export interface ApiEnvironment {
  Variables: { record: RequestRecord }
}
