import type { HttpBindings } from '@hono/node-server'
import type { RequestRecord } from './request-record.js'

/** What hono carries from the first handler of a request to the last. */
export interface ApiEnvironment {
  /** Of the server around it; not there where the application is called by itself. */
  Bindings: Partial<HttpBindings> | undefined
  Variables: { record: RequestRecord }
}
