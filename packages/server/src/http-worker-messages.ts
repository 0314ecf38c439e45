import type { AddressInfo } from 'node:net'
import type { MessagePort } from 'node:worker_threads'
import type { ApiSettings } from './api/api-settings.js'
import type { EngineLimits } from './engine/engine-client.js'
import type { HttpTimeouts } from './listen/http-timeouts.js'
import type { ErrorMessage } from './port/port-messages.js'

/** The settings of the API that are plain data; the rest is made in the thread of HTTP. */
export type PlainApiSettings = Omit<ApiSettings, 'phase' | 'log' | 'now'>

/** What the thread of HTTP is started with. */
export interface HttpWorkerData {
  /** To the engine. */
  readonly enginePort: MessagePort
  readonly engineLimits: EngineLimits
  readonly tokenizerFolder: string
  readonly modelName: string
  readonly host: string
  readonly port: number
  readonly timeouts: HttpTimeouts
  readonly settings: PlainApiSettings
  /** Whether a line of JSON a request goes to stderr. */
  readonly log: boolean
}

/** What it is told: to take no more requests, or to end. */
export type HttpWorkerCall = 'drain' | 'close'

/** What it tells. `idle` comes once after `drain`, when no response is open; `closed` is the last word. */
export type HttpWorkerAnswer =
  | { readonly type: 'listening'; readonly address: AddressInfo }
  | { readonly type: 'failed'; readonly error: ErrorMessage }
  | { readonly type: 'idle' }
  | { readonly type: 'closed' }
