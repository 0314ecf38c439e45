import type { AttentionSpec } from '../contract/attention-spec.js'
import type { InputKind, TestedDType } from './attention-case.js'

/** One cached sequence of a case. */
export interface PagedSequence {
  /** Keys at the end. */
  readonly length: number
  readonly topK: number
  readonly denseBelow: number
  /** Its first tokens, a multiple of the page, are those of another sequence and lie in that one's pages; it brings none of them itself. */
  readonly shared?: { readonly sequence: number; readonly tokens: number }
}

/** Cached sequences as data, and ways to bring their tokens that must all give the same result (spec 6). */
export interface PagedCase {
  readonly name: string
  /** topK is the most of any sequence; dtype is replaced by the tested one. */
  readonly spec: AttentionSpec
  readonly pageTokens: number
  readonly sequences: readonly PagedSequence[]
  /** One for each KV head. */
  readonly lambda: readonly number[]
  readonly inputs: InputKind
  readonly seed: number
  /** For each schedule, the new tokens of each sequence, step by step. */
  readonly schedules: Readonly<Record<string, readonly (readonly number[])[]>>
  /** What the pages hold beforehand: nothing, or another sequence's numbers or NaN. */
  readonly pagesHold: 'nothing' | 'numbers' | 'nan'
  /** Unused sequences and padding rows of each step. */
  readonly spare: { readonly sequences: number; readonly rows: number }
  readonly dtypes: readonly TestedDType[]
}
