import type { ErrorMessage } from '../port/port-messages.js'

/** What the thread of grammars is started with. */
export interface ConstraintWorkerData {
  /** Its tokenizer.json says what text each token is. */
  readonly tokenizerFolder: string
  /** Of the model: masks have so many bits. */
  readonly vocabSize: number
}

/** From the engine's thread. `text` is a number that the sender chose. */
export type ConstraintCall =
  | { readonly type: 'open'; readonly text: number; readonly grammar: string; readonly stopTokenIds: readonly number[] }
  | { readonly type: 'accept'; readonly text: number; readonly id: number }
  | { readonly type: 'close'; readonly text: number }

/** An answer to each `open` and `accept`: what may come next, see `TextConstraint`. */
export type ConstraintAnswer =
  | { readonly text: number; readonly allowed: Int32Array }
  | { readonly text: number; readonly error: ErrorMessage }
