import { InvalidInputError } from '@phsa/model'

/** Tokens as XGrammar reads them. */
export interface GrammarVocabulary {
  /** By id, as tokenizer.json writes them; empty where a token is no text: special ones, and ids without any. */
  readonly tokens: readonly string[]
  /** How bytes are written in them. */
  readonly type: 'byte_level' | 'byte_fallback'
}

interface TokenizerJson {
  readonly model: { readonly vocab: Readonly<Record<string, number>> | readonly (readonly [string, number])[] }
  readonly added_tokens: readonly { readonly id: number; readonly content: string; readonly special?: boolean }[]
  readonly decoder?: unknown
}

/**
 * @param json a tokenizer.json that `TextTokenizer` has accepted
 * @throws InvalidInputError for one whose tokens are written neither in bytes nor with bytes to fall back to
 */
export function grammarVocabulary(json: unknown): GrammarVocabulary {
  const { model, added_tokens, decoder } = json as TokenizerJson
  const parts = JSON.stringify(decoder ?? null)
  const isBytes = parts.includes('"ByteLevel"')
  if (!isBytes && !parts.includes('"ByteFallback"')) {
    throw new InvalidInputError(
      'the tokenizer of this model is not made of bytes, so its texts cannot be constrained; leave response_format out.',
    )
  }
  const tokens: string[] = []
  const entries = Array.isArray(model.vocab)
    ? model.vocab.map(([piece], id) => [piece, id] as const)
    : Object.entries(model.vocab as Readonly<Record<string, number>>)
  for (const [piece, id] of entries) tokens[id] = piece
  // Written as they are, not in the alphabet of bytes: to be sure, none of them is ever part of a constrained text.
  for (const { id } of added_tokens) tokens[id] = ''
  return { tokens: Array.from(tokens, (token) => token ?? ''), type: isBytes ? 'byte_level' : 'byte_fallback' }
}
