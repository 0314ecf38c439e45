import type { EngineRequest } from '../engine/engine-client.js'
import { countVisible } from '../engine/visible-count.js'
import type { ApiContext } from './api-context.js'
import { type ChoiceEvent, type ChoiceUsage, choiceEvents } from './choice-events.js'
import type { GenerationPlan } from './generation-plan.js'
import { type MergedValue, mergeChoices } from './merge-choices.js'
import type { RequestRecord } from './request-record.js'

/** What a choice gives, with a usage that lacks nothing. */
export type CountedEvent = Exclude<ChoiceEvent, ChoiceEnd> | (ChoiceEnd & { readonly usage: Required<ChoiceUsage> })

type ChoiceEnd = Extract<ChoiceEvent, { type: 'end' }>

/**
 * All choices of a plan at once. Counts what they use: for metrics, the log and the limits of the caller's key, whose places they hold until the end.
 * @param abort ends the engine's work; called whenever this ends
 * @throws ApiError 429 before the first event; what the engine throws
 */
export async function* runGeneration(
  plan: GenerationPlan,
  context: ApiContext,
  record: RequestRecord,
  abort: AbortController,
): AsyncGenerator<MergedValue<CountedEvent>, void, undefined> {
  const { limits } = record.caller
  const leave = limits?.enter(plan.requests.length)
  record.choices = plan.requests.length
  try {
    const sources = plan.requests.map((request) => countedChoice(request, plan, context, record, abort.signal))
    yield* mergeChoices(sources, () => abort.abort())
  } finally {
    leave?.()
  }
}

async function* countedChoice(
  request: EngineRequest,
  { stop, mostCalls, promptOnly }: GenerationPlan,
  context: ApiContext,
  record: RequestRecord,
  signal: AbortSignal,
): AsyncGenerator<CountedEvent, void, undefined> {
  const { engine, answers, metrics, settings } = context
  const trace = record.trace?.choice(request.prompt.length)
  let lastToken: number | undefined
  const onToken = () => {
    const now = settings.now()
    if (lastToken === undefined) trace?.firstToken()
    if (lastToken === undefined) metrics.firstToken(now - record.startedAt)
    else metrics.nextToken(now - lastToken)
    lastToken = now
    record.completionTokens++
    record.caller.limits?.charge(1)
  }
  try {
    for await (const event of choiceEvents(engine, request, { tokenizer: answers, stop, mostCalls, onToken }, signal)) {
      if (event.type === 'started') {
        trace?.started(event)
        record.promptTokens += request.prompt.length
        record.cachedTokens += event.cachedTokens
        record.caller.limits?.charge(request.prompt.length)
      }
      if (event.type !== 'end') yield event
      const end = event.type === 'started' && promptOnly ? endOfPrompt(request, event.cachedTokens) : event
      if (end.type !== 'end') continue
      metrics.choiceEnded(end.reason, end.usage, record.elapsed)
      const usage = completeUsage(end.usage, request, context)
      trace?.ended(end.reason, usage)
      yield { ...end, usage }
      return
    }
  } finally {
    trace?.close()
  }
}

function endOfPrompt({ prompt }: EngineRequest, cachedTokens: number): ChoiceEnd {
  return { type: 'end', reason: 'length', usage: { promptTokens: prompt.length, cachedTokens, completionTokens: 0 } }
}

/** The engine tells what it counted at the end of a text, but not of one that was cut short: there the same is counted here. */
export function completeUsage(
  usage: ChoiceUsage,
  { attention }: EngineRequest,
  { engine }: Pick<ApiContext, 'engine'>,
): Required<ChoiceUsage> {
  const { activatedTokens, visibleTokens } = usage
  if (activatedTokens !== undefined && visibleTokens !== undefined) return { ...usage, activatedTokens, visibleTokens }
  const { spec, attention: usual } = engine.limits
  const chosen = attention ?? usual
  const counted = chosen === 'dense' ? spec : { ...spec, topK: chosen.topK }
  // The last token was never read.
  const { activated, visible } = countVisible(counted, usage.cachedTokens, usage.promptTokens + Math.max(0, usage.completionTokens - 1))
  return { ...usage, activatedTokens: chosen === 'dense' ? visible : activated, visibleTokens: visible }
}
