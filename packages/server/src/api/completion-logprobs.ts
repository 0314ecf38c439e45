import type { TokenLogprob } from '../engine/engine-client.js'
import type { AnswerToken } from './choice-events.js'
import type { TokenNames } from './token-names.js'

/** Log-probabilities as completions have them: a list each, one entry a token. */
export interface CompletionLogprobs {
  readonly tokens: string[]
  /** null for the first token of a prompt. */
  readonly token_logprobs: (number | null)[]
  readonly top_logprobs: (Record<string, number> | null)[]
  /** Characters before the token. */
  readonly text_offset: number[]
}

/** @param tokens with offsets into the whole text */
export function completionLogprobs(tokens: readonly AnswerToken[], names: TokenNames): CompletionLogprobs {
  return {
    tokens: tokens.map(({ id }) => names.name(id)),
    token_logprobs: tokens.map(({ logprob }) => logprob ?? null),
    top_logprobs: tokens.map(({ logprob, top }) => (logprob === undefined ? null : byName(top, names))),
    text_offset: tokens.map(({ offset }) => offset),
  }
}

/** Tokens of a prompt like those of an answer. @param offsets characters before each */
export function promptTokens(ids: Int32Array, offsets: readonly number[], logprobs: readonly (TokenLogprob | null)[]): AnswerToken[] {
  return Array.from(ids, (id, index) => ({
    id,
    offset: offsets[index],
    logprob: logprobs[index]?.logprob,
    top: logprobs[index]?.top ?? [],
  }))
}

/** Two tokens may have one text: the likelier one is told. */
function byName(top: TokenLogprob['top'], names: TokenNames): Record<string, number> {
  return Object.fromEntries([...top].reverse().map(([id, logprob]) => [names.name(id), logprob]))
}
