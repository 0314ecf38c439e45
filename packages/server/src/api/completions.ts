import type { Context } from 'hono'
import { answer } from './answer.js'
import type { ApiContext } from './api-context.js'
import type { ApiEnvironment } from './api-environment.js'
import { CompletionShape } from './completion-shape.js'
import { echoedPrompt } from './echoed-prompt.js'
import { planGeneration } from './generation-plan.js'
import { readBody } from './read-body.js'
import { refuseParameter } from './refuse-parameter.js'
import { type CompletionBody, completionSchema } from './schemas/completion-schema.js'

/** Tokens of a completion that asks for no number: OpenAI's. */
const USUAL_TOKENS = 16

/** POST /v1/completions */
export async function completions(c: Context<ApiEnvironment>, context: ApiContext): Promise<Response> {
  const body = await readBody(c, completionSchema)
  const record = c.get('record')
  const given = body.n ?? 1
  const made = body.best_of ?? given
  requireSense(body, given, made, context)
  const echo = body.echo ?? false
  const tellsLogprobs = typeof body.logprobs === 'number'
  const { signal } = c.req.raw
  // One after the other, so that one request never fills the queue of long texts; between short ones others get their turn.
  const prompts = await oneByOne(body.prompt, context, (prompt) =>
    typeof prompt === 'string' ? context.texts.encode(prompt, signal) : idsOf(prompt, context),
  )
  // What ranks choices is asked for also where the answer does not tell it.
  const logprobs = body.logprobs ?? (made > given ? 0 : undefined)
  const details = {
    prompts,
    promptParam: 'prompt' as const,
    maxTokens: Math.max(1, body.max_tokens ?? USUAL_TOKENS),
    maxTokensParam: 'max_tokens',
    perPrompt: made,
    perPromptParam: made > given ? ('best_of' as const) : ('n' as const),
    logprobs,
    logprobsParam: 'logprobs',
    promptLogprobs: echo && tellsLogprobs,
    promptOnly: body.max_tokens === 0,
  }
  const plan = planGeneration(body, details, context, record.caller)
  const echoes = echo ? await oneByOne(prompts, context, (prompt) => echoedPrompt(prompt, context, signal)) : undefined
  const options = { id: `cmpl-${record.id}`, plan, given, echoes, logprobs: tellsLogprobs }
  return answer(c, plan, new CompletionShape(options, context), context)
}

async function oneByOne<T, R>(values: readonly T[], { turns }: ApiContext, work: (value: T) => R | Promise<R>): Promise<R[]> {
  const results: R[] = []
  for (const value of values) {
    if (results.length > 0) await turns.next()
    results.push(await work(value))
  }
  return results
}

function requireSense(
  { prompt, best_of, stream, echo, max_tokens }: CompletionBody,
  given: number,
  made: number,
  { settings }: ApiContext,
): void {
  if (prompt.length > settings.maxPrompts) {
    refuseParameter(
      'prompt',
      `${prompt.length} prompts are given; at most ${settings.maxPrompts} are taken at once. Send the others in requests of their own.`,
    )
  }
  if (made < given) refuseParameter('best_of', `best_of is ${best_of} and n ${given}; it must be at least n.`)
  if (made > given && stream)
    refuseParameter('best_of', 'the best choices are known at the end, so there is no stream of them; leave best_of or stream out.')
  if (max_tokens === 0 && !echo) refuseParameter('max_tokens', 'max_tokens is 0; it must be at least 1 without echo.')
}

function idsOf(prompt: readonly number[], { engine }: ApiContext): Int32Array {
  const { vocabSize } = engine.limits
  const unknown = prompt.find((id) => id >= vocabSize)
  if (unknown !== undefined) refuseParameter('prompt', `prompt has the token id ${unknown}; the model has 0 to ${vocabSize - 1}.`)
  return Int32Array.from(prompt)
}
