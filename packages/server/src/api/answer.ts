import { setMaxListeners } from 'node:events'
import type { Context } from 'hono'
import type { AnswerShape, FinishedChoice } from './answer-shape.js'
import type { ApiContext } from './api-context.js'
import type { ApiEnvironment } from './api-environment.js'
import { type ApiError, apiErrorOf } from './api-error.js'
import type { AnswerToken } from './choice-events.js'
import { DONE_EVENT, dataEvent, eventStream } from './event-stream.js'
import type { GenerationPlan } from './generation-plan.js'
import type { MergedValue } from './merge-choices.js'
import { type CountedEvent, runGeneration } from './run-generation.js'
import { usageOf } from './usage.js'

type Events = AsyncGenerator<MergedValue<CountedEvent>, void, undefined>

/**
 * Runs a plan and answers with it, whole or as a stream. A client that leaves ends the engine's work.
 * @throws ApiError for what fails before the first event, so that it still becomes a status
 */
export async function answer(c: Context<ApiEnvironment>, plan: GenerationPlan, shape: AnswerShape, context: ApiContext): Promise<Response> {
  const record = c.get('record')
  const client = c.req.raw.signal
  const abort = new AbortController()
  // Every choice listens.
  setMaxListeners(0, abort.signal)
  const leave = () => abort.abort()
  client.addEventListener('abort', leave)
  if (client.aborted) leave()
  const stayed = () => client.removeEventListener('abort', leave)
  const events = runGeneration(plan, context, record, abort)
  try {
    if (!plan.stream) {
      const whole = await wholeAnswer(events, plan, shape)
      stayed()
      return c.json(whole)
    }
    const first = await events.next()
    record.isStreaming = true
    let hasLeft = false
    const end = (error?: ApiError) => {
      stayed()
      record.end(error?.status ?? 200, error)
    }
    const pieces = streamedAnswer({ first, events, plan, shape, failure: (error) => apiErrorOf(error, hasLeft || client.aborted), end })
    const body = eventStream(pieces, () => {
      hasLeft = true
      abort.abort()
    })
    return c.body(body, 200, STREAM_HEADERS)
  } catch (error) {
    stayed()
    throw apiErrorOf(error, client.aborted)
  }
}

/** Proxies shall neither keep nor gather what comes piece by piece. */
const STREAM_HEADERS = { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache', 'x-accel-buffering': 'no' }

async function wholeAnswer(events: Events, plan: GenerationPlan, shape: AnswerShape): Promise<object> {
  const choices = new GatheredChoices(plan.requests.length)
  for await (const event of events) choices.add(event)
  const finished = choices.finished()
  return shape.whole(
    finished,
    usageOf(
      finished.map(({ end }) => end.usage),
      plan.perPrompt,
    ),
  )
}

interface StreamedAnswer {
  readonly first: IteratorResult<MergedValue<CountedEvent>, void>
  readonly events: Events
  readonly plan: GenerationPlan
  readonly shape: AnswerShape
  failure(error: unknown): ApiError
  /** Called once, with the error where there was one. */
  end(error?: ApiError): void
}

async function* streamedAnswer({ first, events, plan, shape, failure, end }: StreamedAnswer): AsyncGenerator<string, void, undefined> {
  const choices = new GatheredChoices(plan.requests.length)
  let error: ApiError | undefined
  let isOver = false
  try {
    for (let next = first; !next.done; next = await events.next()) {
      const { index, value } = next.value
      choices.note(next.value)
      const chunk = shape.chunk(index, value)
      if (chunk) yield dataEvent(plan.includeUsage ? { ...chunk, usage: null } : chunk)
    }
    if (plan.includeUsage) yield dataEvent(shape.usageChunk(usageOf(choices.usages(), plan.perPrompt)))
    isOver = true
    yield DONE_EVENT
  } catch (thrown) {
    error = failure(thrown)
    // The status is long sent: the error is the stream's last event, and nothing says that it is done.
    yield dataEvent(error)
  } finally {
    await events.return()
    // Neither over nor failed: the client left while a piece was on its way.
    end(isOver ? undefined : (error ?? failure(undefined)))
  }
}

/** Puts events of several choices together again. */
class GatheredChoices {
  readonly #choices: { started?: FinishedChoice['started']; text: string; tokens: AnswerToken[]; end?: FinishedChoice['end'] }[]

  constructor(count: number) {
    this.#choices = Array.from({ length: count }, () => ({ text: '', tokens: [] }))
  }

  add(event: MergedValue<CountedEvent>): void {
    this.note(event)
    const { index, value } = event
    if (value.type !== 'text') return
    this.#choices[index].text += value.text
    this.#choices[index].tokens.push(...value.tokens)
  }

  /** Without the text. */
  note({ index, value }: MergedValue<CountedEvent>): void {
    if (value.type === 'started') this.#choices[index].started = value
    if (value.type === 'end') this.#choices[index].end = value
  }

  /** Every stream ends with its `end`, or throws. */
  finished(): FinishedChoice[] {
    return this.#choices.map(({ started, text, tokens, end }, index) => ({ index, started: started!, text, tokens, end: end! }))
  }

  usages(): FinishedChoice['end']['usage'][] {
    return this.#choices.map(({ end }) => end!.usage)
  }
}
