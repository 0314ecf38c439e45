/** What the next tokens of one text may be. */
export interface TextConstraint {
  /** i32 [V / 32, rounded up]: bit id % 32 of word id / 32 says whether the token may come next. Undefined after `accept` until it is known. */
  readonly allowed: Int32Array | undefined
  /** Resolves when `allowed` is known after the last `accept`; never where it will not be. */
  readonly known: Promise<void>
  /** Resolves with the reason when nothing more will be known. */
  readonly failed: Promise<Error>
  /** The text goes on with this token, one of those allowed. */
  accept(id: number): void
  /** Frees what it holds. Disposing twice is allowed. */
  dispose(): void
}

/** Texts that may be opened at once, whoever asks. */
export const MOST_OPENING = 64

/** Opens constraints. An engine without one refuses requests that ask for any. */
export interface TextConstraints {
  /**
   * A constraint whose first tokens are known. The ids that end a text are allowed where it is whole, and only there.
   * @param grammar EBNF of whole texts, rule `root`
   * @throws InvalidInputError for a grammar or a tokenizer that cannot be followed, QueueFullError when too many are being opened
   */
  open(grammar: string, stopTokenIds: readonly number[]): Promise<TextConstraint>
}

/** What a logit becomes that may not be drawn: no share of the mass is left, and no infinity has to be handled on a device. */
const FORBIDDEN = -1e30

/** @param logits [V], changed in place: tokens that are not allowed can no longer be drawn */
export function forbidOthers(logits: { [index: number]: number; readonly length: number }, allowed: Int32Array): void {
  for (let id = 0; id < logits.length; id++) if (((allowed[id >> 5] >>> (id & 31)) & 1) === 0) logits[id] = FORBIDDEN
}
