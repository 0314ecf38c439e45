import type { AnswerShape, FinishedChoice } from './answer-shape.js'
import type { ApiContext } from './api-context.js'
import type { AnswerToken } from './choice-events.js'
import { completionLogprobs, promptTokens } from './completion-logprobs.js'
import type { EchoedPrompt } from './echoed-prompt.js'
import type { GenerationPlan } from './generation-plan.js'
import type { CountedEvent } from './run-generation.js'
import type { Usage } from './usage.js'

/** What a completion's answer holds besides the text. */
export interface CompletionShapeOptions {
  readonly id: string
  readonly plan: GenerationPlan
  /** Choices that are given of each prompt: the best of those that were made. */
  readonly given: number
  /** Of each prompt, where it is given back. */
  readonly echoes: readonly EchoedPrompt[] | undefined
  readonly logprobs: boolean
}

/** Answers of POST /v1/completions. */
export class CompletionShape implements AnswerShape {
  readonly #options: CompletionShapeOptions
  readonly #context: ApiContext
  readonly #created = Math.floor(Date.now() / 1000)

  constructor(options: CompletionShapeOptions, context: ApiContext) {
    this.#options = options
    this.#context = context
  }

  whole(choices: readonly FinishedChoice[], usage: Usage): object {
    return { ...this.#head(), choices: this.#chosen(choices).map((choice, index) => ({ ...this.#choice(choice), index })), usage }
  }

  chunk(index: number, event: CountedEvent): object | undefined {
    switch (event.type) {
      case 'started': {
        const echo = this.#echo(index)
        return echo && this.#chunk(index, echo.text, this.#promptTokens(index, event))
      }
      case 'text':
        return this.#chunk(index, event.text, this.#shifted(index, event.tokens))
      case 'end':
        return this.#chunk(index, '', this.#shifted(index, stopTokens(event)), event.reason)
    }
  }

  usageChunk(usage: Usage): object {
    return { ...this.#head(), choices: [], usage }
  }

  #head(): object {
    return { id: this.#options.id, object: 'text_completion', created: this.#created, model: this.#context.modelName }
  }

  /** The `given` best of each prompt, in the order of their quality where there is a choice. */
  #chosen(choices: readonly FinishedChoice[]): FinishedChoice[] {
    const { plan, given } = this.#options
    if (given === plan.perPrompt) return [...choices]
    return Array.from({ length: choices.length / plan.perPrompt }, (_, prompt) =>
      choices
        .slice(prompt * plan.perPrompt, (prompt + 1) * plan.perPrompt)
        .sort((a, b) => meanLogprob(b) - meanLogprob(a) || a.index - b.index)
        .slice(0, given),
    ).flat()
  }

  #choice({ index, started, text, tokens, end }: FinishedChoice): object {
    const { logprobs } = this.#options
    const all = [...this.#promptTokens(index, started), ...this.#shifted(index, [...tokens, ...stopTokens(end)])]
    return {
      text: (this.#echo(index)?.text ?? '') + text,
      logprobs: logprobs ? completionLogprobs(all, this.#context.names) : null,
      finish_reason: end.reason,
    }
  }

  #chunk(index: number, text: string, tokens: readonly AnswerToken[], reason: 'stop' | 'length' | null = null): object {
    const logprobs = this.#options.logprobs && tokens.length > 0 ? completionLogprobs(tokens, this.#context.names) : null
    return { ...this.#head(), choices: [{ index, text, logprobs, finish_reason: reason }] }
  }

  /** @param index of a request of the plan */
  #echo(index: number): EchoedPrompt | undefined {
    const { echoes, plan } = this.#options
    return echoes?.[Math.floor(index / plan.perPrompt)]
  }

  #promptTokens(index: number, { promptLogprobs }: { promptLogprobs: Parameters<typeof promptTokens>[2] | undefined }): AnswerToken[] {
    const echo = this.#echo(index)
    return echo && promptLogprobs ? promptTokens(this.#options.plan.requests[index].prompt, echo.offsets, promptLogprobs) : []
  }

  #shifted(index: number, tokens: readonly AnswerToken[]): AnswerToken[] {
    const shift = this.#echo(index)?.text.length ?? 0
    return tokens.map((token) => ({ ...token, offset: token.offset + shift }))
  }
}

/** The token that ended a text has a log-probability like every other, as OpenAI tells it: whoever counts tokens relies on it. It is no text. */
function stopTokens({ stopToken }: FinishedChoice['end']): AnswerToken[] {
  return stopToken ? [stopToken] : []
}

function meanLogprob({ tokens }: FinishedChoice): number {
  return tokens.reduce((sum, { logprob = 0 }) => sum + logprob, 0) / Math.max(1, tokens.length)
}
