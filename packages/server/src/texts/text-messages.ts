import type { ErrorStatus } from '../api/api-error.js'
import type { Conversation } from '../api/schemas/chat-schema.js'
import type { ErrorMessage } from '../port/port-messages.js'

/** What the thread of texts is started with. */
export interface TextWorkerData {
  readonly tokenizerFolder: string
}

/** Work for it. */
export type TextJob =
  | { readonly type: 'encode'; readonly text: string }
  | { readonly type: 'encode-chat'; readonly conversation: Conversation; readonly addGenerationPrompt: boolean }
  | { readonly type: 'decode'; readonly ids: readonly number[] }

/** What an `ApiError` says, as plain data. */
export interface Refusal {
  readonly status: ErrorStatus
  readonly message: string
  readonly param: string | null
  readonly code: string | null
}

/** An answer to each job, in their order. */
export type TextAnswer =
  | { readonly type: 'done'; readonly result: Int32Array | string }
  | { readonly type: 'refused'; readonly refusal: Refusal }
  | { readonly type: 'failed'; readonly error: ErrorMessage }
