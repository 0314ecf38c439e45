import type { AnswerShape, FinishedChoice } from './answer-shape.js'
import type { ApiContext } from './api-context.js'
import type { AnswerToken } from './choice-events.js'
import type { CountedEvent } from './run-generation.js'
import { type ToolCall, ToolCalls } from './tool-calls.js'
import type { Usage } from './usage.js'

type FinishReason = 'stop' | 'length' | 'tool_calls'

/** A text that ended by itself after calls waits for their results. */
function reasonWithCalls(reason: 'stop' | 'length'): FinishReason {
  return reason === 'stop' ? 'tool_calls' : reason
}

/** Answers of POST /v1/chat/completions. */
export class ChatShape implements AnswerShape {
  readonly #id: string
  readonly #logprobs: boolean
  readonly #mostCalls: number
  readonly #context: ApiContext
  readonly #created = Math.floor(Date.now() / 1000)
  /** By choice, of a stream. */
  readonly #calls = new Map<number, ToolCalls>()

  /** @param options.mostCalls that are told of a choice; 0 where none are looked for */
  constructor({ id, logprobs, mostCalls }: { id: string; logprobs: boolean; mostCalls: number }, context: ApiContext) {
    this.#id = id
    this.#logprobs = logprobs
    this.#mostCalls = mostCalls
    this.#context = context
  }

  whole(choices: readonly FinishedChoice[], usage: Usage): object {
    return {
      ...this.#head('chat.completion'),
      choices: choices.map(({ index, text, tokens, end }) => {
        const parts = this.#partsOf(index, text)
        return {
          index,
          message: { role: 'assistant', refusal: null, content: null, ...parts },
          logprobs: this.#told(tokens),
          finish_reason: parts.tool_calls ? reasonWithCalls(end.reason) : end.reason,
        }
      }),
      usage,
    }
  }

  chunk(index: number, event: CountedEvent): object | undefined {
    switch (event.type) {
      case 'started':
        return this.#chunk(index, { role: 'assistant', content: '' })
      case 'text':
        return this.#textChunk(index, event)
      case 'end':
        return this.#endChunk(index, event.reason)
    }
  }

  #textChunk(index: number, { text, tokens }: Extract<CountedEvent, { type: 'text' }>): object {
    if (this.#mostCalls === 0) return this.#chunk(index, { content: text }, tokens)
    const calls = this.#calls.get(index) ?? new ToolCalls(this.#mostCalls)
    this.#calls.set(index, calls)
    const before = calls.found
    return this.#chunk(index, this.#delta(index, calls.push(text), before), tokens)
  }

  #endChunk(index: number, reason: 'stop' | 'length'): object {
    const calls = this.#calls.get(index)
    if (!calls) return this.#chunk(index, {}, [], reason)
    const delta = this.#delta(index, calls.end(), calls.found)
    return this.#chunk(index, delta, [], calls.found > 0 ? reasonWithCalls(reason) : reason)
  }

  /** Text and calls of a whole choice. */
  #partsOf(index: number, text: string): { content?: string; tool_calls?: object[] } {
    if (this.#mostCalls === 0) return { content: text }
    const parser = new ToolCalls(this.#mostCalls)
    const parts = parser.push(text)
    const content = parts.text + parser.end().text
    const calls = parts.calls.map((call, place) => this.#call(index, call, place))
    return { ...(content !== '' || calls.length === 0 ? { content } : {}), ...(calls.length > 0 ? { tool_calls: calls } : {}) }
  }

  /** @param before calls that were told earlier */
  #delta(index: number, { text, calls }: { text: string; calls: readonly ToolCall[] }, before: number): object {
    return {
      ...(text === '' ? {} : { content: text }),
      ...(calls.length === 0
        ? {}
        : { tool_calls: calls.map((call, place) => ({ index: before + place, ...this.#call(index, call, before + place) })) }),
    }
  }

  #call(index: number, call: ToolCall, place: number): object {
    return { id: `call-${this.#id}-${index}-${place}`, type: 'function', function: call }
  }

  usageChunk(usage: Usage): object {
    return { ...this.#head('chat.completion.chunk'), choices: [], usage }
  }

  #head(object: string): object {
    return { id: this.#id, object, created: this.#created, model: this.#context.modelName }
  }

  #chunk(index: number, delta: object, tokens: readonly AnswerToken[] = [], reason: FinishReason | null = null): object {
    const logprobs = tokens.length > 0 ? this.#told(tokens) : null
    return { ...this.#head('chat.completion.chunk'), choices: [{ index, delta, logprobs, finish_reason: reason }] }
  }

  #told(tokens: readonly AnswerToken[]): object | null {
    if (!this.#logprobs) return null
    return {
      content: tokens.map(({ id, logprob = 0, top }) => ({
        ...this.#token(id, logprob),
        top_logprobs: top.map(([other, value]) => this.#token(other, value)),
      })),
      refusal: null,
    }
  }

  #token(id: number, logprob: number): object {
    const { names } = this.#context
    return { token: names.name(id), logprob, bytes: names.bytes(id) }
  }
}
