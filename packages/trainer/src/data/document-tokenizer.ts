import { InvalidConfigError } from '@phsa/core'

/** The part of a tokenizer that a data set needs; `TextTokenizer` of @phsa/model has it. */
export interface DocumentTokenizer {
  encode(text: string): ArrayLike<number>
  /** Text of ids, special tokens included: tells whether `<|endoftext|>` has an id of its own or became the unknown token. */
  decode?(ids: ArrayLike<number>): string
  /** Id that ends a generation; a chat model's is often not the one between documents. */
  readonly eosTokenId?: number
  /** Ids are 0 to vocabSize - 1: with at most 65,536 of them, shards take two bytes a token instead of four. */
  readonly vocabSize?: number
}

const END_OF_TEXT = '<|endoftext|>'

/**
 * The id between documents: that of `<|endoftext|>` where one id decodes back to it, else its `eosTokenId`.
 * @throws InvalidConfigError where there is neither
 */
export function defaultSeparator(tokenizer: DocumentTokenizer): number {
  const special = tokenizer.encode(END_OF_TEXT)
  // One id may also be the unknown token's: only its text tells them apart.
  if (special.length === 1 && tokenizer.decode?.(special) === END_OF_TEXT) return special[0]
  if (tokenizer.eosTokenId !== undefined) return tokenizer.eosTokenId
  throw new InvalidConfigError(
    'separatorId',
    'the tokenizer has no eosTokenId and no <|endoftext|> that decodes back to itself; give separatorId, the id to put between documents.',
  )
}
