import type { EngineEvent, EngineRequest, EngineStats } from '../engine/engine-client.js'

/** An error as plain data: a class does not cross a thread boundary. */
export interface ErrorMessage {
  /** Code of a `PhsaError`; undefined for any other error. */
  readonly code: string | undefined
  readonly message: string
}

/** From the thread of HTTP to the thread of the engine. `stream` is a number that the sender chose. */
export type EngineCall =
  | { readonly type: 'generate'; readonly stream: number; readonly request: EngineRequest }
  | { readonly type: 'cancel'; readonly stream: number }
  | { readonly type: 'stats'; readonly call: number }

/** What one stream has to say; after `end` or an error it says nothing more. */
export type StreamMessage =
  | { readonly stream: number; readonly event: EngineEvent }
  | { readonly stream: number; readonly error: ErrorMessage }

/** From the engine's thread to that of HTTP: one message holds what all streams got in a step; mostly that is a token each, and nothing else of them. */
export type EngineAnswer =
  | { readonly type: 'tokens'; readonly streams: Int32Array; readonly ids: Int32Array }
  | { readonly type: 'events'; readonly events: readonly StreamMessage[] }
  | { readonly type: 'stats'; readonly call: number; readonly stats: EngineStats }
  | { readonly type: 'stats-failed'; readonly call: number; readonly error: ErrorMessage }
