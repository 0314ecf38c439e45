import { StopSearch, TextStream, type TextTokenizer } from '@phsa/model'
import type { EngineClient, EngineRequest, EngineUsage, TokenLogprob } from '../engine/engine-client.js'
import { ToolCalls } from './tool-calls.js'

/** A token of an answer. */
export interface AnswerToken {
  readonly id: number
  /** Characters of the answer's text before it. */
  readonly offset: number
  readonly logprob: number | undefined
  readonly top: TokenLogprob['top']
}

/** Whole characters that are in no stop string, and the tokens that begin in them. One of both may be empty. */
export interface AnswerPiece {
  readonly type: 'text'
  readonly text: string
  readonly tokens: readonly AnswerToken[]
}

/** Tokens that were spent on a choice. What only a whole run of the engine tells is missing where a stop string cut it short. */
export type ChoiceUsage = Pick<EngineUsage, 'promptTokens' | 'cachedTokens' | 'completionTokens'> &
  Partial<Pick<EngineUsage, 'activatedTokens' | 'visibleTokens'>>

/** What one choice gives: one `started`, texts, one `end`. */
export type ChoiceEvent =
  | {
      readonly type: 'started'
      readonly cachedTokens: number
      readonly queuedMilliseconds: number
      readonly promptLogprobs: readonly (TokenLogprob | null)[] | undefined
    }
  | AnswerPiece
  | { readonly type: 'end'; readonly reason: 'stop' | 'length'; readonly usage: ChoiceUsage; readonly stopToken?: AnswerToken }

/** What turns token ids into the text of an answer. */
export interface ChoiceText {
  readonly tokenizer: Pick<TextTokenizer, 'decode'>
  /** Texts that end the answer, before the first of them. */
  readonly stop: readonly string[]
  /** Calls of tools after which the answer ends; default 0, as infinity: none are looked for. The last piece may go on behind the last of them. */
  readonly mostCalls?: number
  /** Called for each token as it comes, before its text is certain. */
  readonly onToken?: () => void
}

/**
 * One choice as text. Pieces never split a character, and no part of a stop string is given out; a stop string, or the last call, ends the engine's work.
 * @throws what the engine throws
 */
export async function* choiceEvents(
  engine: Pick<EngineClient, 'generate'>,
  request: EngineRequest,
  { tokenizer, stop, mostCalls = 0, onToken }: ChoiceText,
  signal?: AbortSignal,
): AsyncGenerator<ChoiceEvent, void, undefined> {
  const stream = new TextStream(tokenizer, request.prompt)
  const search = new StopSearch(stop)
  const calls = mostCalls > 0 && Number.isFinite(mostCalls) ? new ToolCalls(mostCalls) : undefined
  let held: AnswerToken[] = []
  let made = 0
  let written = 0
  let given = 0
  let cachedTokens = 0

  const give = (text: string): AnswerPiece => {
    given += text.length
    const tokens = held.filter(({ offset }) => offset < given)
    held = held.filter(({ offset }) => offset >= given)
    return { type: 'text', text, tokens }
  }

  for await (const event of engine.generate(request, signal)) {
    switch (event.type) {
      case 'started':
        cachedTokens = event.cachedTokens
        yield { type: 'started', cachedTokens, queuedMilliseconds: event.queuedMilliseconds, promptLogprobs: event.promptLogprobs }
        break
      case 'token': {
        made++
        onToken?.()
        held.push({ id: event.id, offset: written, logprob: event.logprob, top: event.top ?? [] })
        const piece = stream.push(event.id)
        written += piece.length
        const certain = give(search.push(piece))
        if (!isEmpty(certain)) yield certain
        calls?.push(certain.text)
        if (search.found || calls?.isFull) {
          yield { type: 'end', reason: 'stop', usage: { promptTokens: request.prompt.length, cachedTokens, completionTokens: made } }
          return
        }
        break
      }
      case 'end': {
        const rest = search.push(stream.end())
        const certain = give(search.found ? rest : rest + search.end())
        // Without a stop string every token counts, also those that never became text.
        const last = search.found ? certain : { ...certain, tokens: [...certain.tokens, ...held] }
        if (!isEmpty(last)) yield last
        const stopToken = event.stopToken && !search.found ? { ...event.stopToken, offset: written } : undefined
        yield { type: 'end', reason: search.found ? 'stop' : event.reason, usage: event.usage, ...(stopToken && { stopToken }) }
      }
    }
  }
}

function isEmpty({ text, tokens }: AnswerPiece): boolean {
  return text === '' && tokens.length === 0
}
