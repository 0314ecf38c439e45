import type { AnswerShape, FinishedChoice } from './answer-shape.js'
import type { ApiContext } from './api-context.js'
import type { AnswerToken } from './choice-events.js'
import type { CountedEvent } from './run-generation.js'
import type { Usage } from './usage.js'

/** Answers of POST /v1/chat/completions. */
export class ChatShape implements AnswerShape {
  readonly #id: string
  readonly #logprobs: boolean
  readonly #context: ApiContext
  readonly #created = Math.floor(Date.now() / 1000)

  constructor({ id, logprobs }: { id: string; logprobs: boolean }, context: ApiContext) {
    this.#id = id
    this.#logprobs = logprobs
    this.#context = context
  }

  whole(choices: readonly FinishedChoice[], usage: Usage): object {
    return {
      ...this.#head('chat.completion'),
      choices: choices.map(({ index, text, tokens, end }) => ({
        index,
        message: { role: 'assistant', content: text, refusal: null },
        logprobs: this.#told(tokens),
        finish_reason: end.reason,
      })),
      usage,
    }
  }

  chunk(index: number, event: CountedEvent): object | undefined {
    switch (event.type) {
      case 'started':
        return this.#chunk(index, { role: 'assistant', content: '' })
      case 'text':
        return this.#chunk(index, { content: event.text }, event.tokens)
      case 'end':
        return this.#chunk(index, {}, [], event.reason)
    }
  }

  usageChunk(usage: Usage): object {
    return { ...this.#head('chat.completion.chunk'), choices: [], usage }
  }

  #head(object: string): object {
    return { id: this.#id, object, created: this.#created, model: this.#context.modelName }
  }

  #chunk(index: number, delta: object, tokens: readonly AnswerToken[] = [], reason: 'stop' | 'length' | null = null): object {
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
