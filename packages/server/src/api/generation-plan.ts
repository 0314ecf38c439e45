import { randomInt } from 'node:crypto'
import { MOST_OPENING } from '../constrain/text-constraint.js'
import type { EngineAttention, EngineRequest, EngineSampling } from '../engine/engine-client.js'
import type { ApiContext } from './api-context.js'
import { ApiError } from './api-error.js'
import type { Caller } from './caller.js'
import { refuseParameter } from './refuse-parameter.js'
import { responseGrammar } from './response-format.js'
import type { CompletionBody } from './schemas/completion-schema.js'

/** Fields that completions and chats have in common. */
export type SamplingBody = Pick<
  CompletionBody,
  | 'temperature'
  | 'top_p'
  | 'top_k'
  | 'min_p'
  | 'presence_penalty'
  | 'frequency_penalty'
  | 'repetition_penalty'
  | 'logit_bias'
  | 'seed'
  | 'stop'
  | 'stop_token_ids'
  | 'ignore_eos'
  | 'model'
  | 'n'
  | 'response_format'
  | 'stream'
  | 'stream_options'
  | 'phsa'
>

/** What is to be made of one request of the API. */
export interface GenerationPlan {
  /** One request of the engine each; those of one prompt lie together. */
  readonly requests: readonly EngineRequest[]
  /** Choices that are made of each prompt. */
  readonly perPrompt: number
  /** Ends where the answer would begin: only the prompt's own log-probabilities are wanted. */
  readonly promptOnly: boolean
  readonly stop: readonly string[]
  /** Calls of tools after which a text ends; 0 where none are looked for. */
  readonly mostCalls: number
  readonly stream: boolean
  readonly includeUsage: boolean
}

/** How a plan's prompts are continued, besides sampling. */
export interface PlanDetails {
  /** One each, of at least one id. */
  readonly prompts: readonly Int32Array[]
  /** What errors call the prompt. */
  readonly promptParam: 'prompt' | 'messages'
  /** Most tokens of an answer; undefined for all that fit. */
  readonly maxTokens: number | undefined
  /** Its name in the request. */
  readonly maxTokensParam: string
  readonly perPrompt: number
  /** Name of the parameter that asks for so many. */
  readonly perPromptParam: 'n' | 'best_of'
  readonly logprobs: number | undefined
  /** Name of the parameter that asks for `logprobs`. */
  readonly logprobsParam: string
  readonly promptLogprobs?: boolean
  readonly promptOnly?: boolean
  /** What texts have to be, where something else than `response_format` says it. */
  readonly grammar?: string
  /** Of the plan; default 0. */
  readonly mostCalls?: number
}

/**
 * Requests of the engine for a request of the API.
 * @throws ApiError 400 for what the model or this server cannot take, 404 for another model
 */
export function planGeneration(body: SamplingBody, details: PlanDetails, context: ApiContext, caller: Caller): GenerationPlan {
  const { engine, settings } = context
  const { limits } = engine
  requireModel(body.model, context)
  if (body.stream_options && !body.stream)
    refuseParameter('stream_options', 'stream_options is for streams; give stream: true, or leave it out.')
  const { maxChoices } = settings
  if (details.perPrompt > maxChoices)
    refuseParameter(details.perPromptParam, `${details.perPrompt} choices are asked for; at most ${maxChoices} are made of a prompt.`)
  const grammar = details.grammar ?? responseGrammar(body.response_format)
  const texts = details.prompts.length * details.perPrompt
  // More than ever fit into the queue: trying again would not help.
  const most = grammar === undefined ? limits.maxWaiting : Math.min(limits.maxWaiting, MOST_OPENING)
  if (texts > most)
    refuseParameter(
      details.perPromptParam,
      `${texts} ${grammar === undefined ? '' : 'constrained '}texts are asked for, of all prompts together; this server takes ${most} at once.`,
    )
  const { logprobs, logprobsParam } = details
  if (logprobs !== undefined && logprobs > limits.maxLogprobs) {
    refuseParameter(logprobsParam, `${logprobsParam} is ${logprobs}; it may be 0 to ${limits.maxLogprobs}.`)
  }
  const sampling = samplingOf(body, context)
  const shared = {
    ...(logprobs !== undefined && { logprobs }),
    ...(details.promptLogprobs && { promptLogprobs: true }),
    attention: attentionOf(body.phsa, context),
    stopTokenIds: stopIdsOf(body, context),
    ...constraintOf(grammar, body, context),
    salt: caller.salt,
  }
  const requests = details.prompts.flatMap((prompt, index) => {
    const maxTokens = maxTokensOf(prompt, index, details, limits.maxTokens)
    requireKnownIds(prompt, details.promptParam, limits.vocabSize)
    return Array.from({ length: details.perPrompt }, (_, choice): EngineRequest => {
      // Choice 0 draws as the request would alone.
      const seed = (sampling.seed + choice) % 2 ** 32
      return { prompt, maxTokens, sampling: { ...sampling, seed }, ...shared }
    })
  })
  return {
    requests,
    perPrompt: details.perPrompt,
    promptOnly: details.promptOnly ?? false,
    stop: body.stop ?? [],
    mostCalls: details.mostCalls ?? 0,
    stream: body.stream ?? false,
    includeUsage: body.stream_options?.include_usage ?? false,
  }
}

/** @throws ApiError 404 for a model that is not served here */
export function requireModel(model: string | null | undefined, { modelName }: ApiContext): void {
  if ((model ?? modelName) === modelName) return
  throw new ApiError(404, `the model asked for is not served here; this server has ${modelName}.`, {
    param: 'model',
    code: 'model_not_found',
  })
}

function samplingOf(body: SamplingBody, { engine, settings }: ApiContext): EngineSampling {
  const usual = settings.sampling
  const logitBias = Object.entries(body.logit_bias ?? {}).map(([id, bias]) => [Number(id), bias] as const)
  const { vocabSize } = engine.limits
  const unknown = logitBias.find(([id]) => id >= vocabSize)
  if (unknown) refuseParameter('logit_bias', `logit_bias names the token id ${unknown[0]}; the model has 0 to ${vocabSize - 1}.`)
  return {
    temperature: body.temperature ?? usual.temperature ?? 1,
    topP: body.top_p ?? usual.topP ?? 1,
    topK: Math.max(0, body.top_k ?? usual.topK ?? 0),
    minP: body.min_p ?? usual.minP ?? 0,
    seed: body.seed ?? usual.seed ?? randomInt(2 ** 32),
    repetitionPenalty: body.repetition_penalty ?? usual.repetitionPenalty ?? 1,
    presencePenalty: body.presence_penalty ?? 0,
    frequencyPenalty: body.frequency_penalty ?? 0,
    logitBias,
  }
}

function attentionOf(phsa: SamplingBody['phsa'], { engine }: ApiContext): EngineAttention {
  const { attention, dense, minTopK, maxTopK } = engine.limits
  const topK = phsa?.topK ?? undefined
  if (phsa?.dense) {
    if (topK !== undefined) refuseParameter('phsa', 'phsa asks for dense attention and for a topK; give one of both.')
    if (!dense) refuseParameter('phsa.dense', 'dense attention is not offered by this server; give phsa.topK, or leave phsa out.')
    return 'dense'
  }
  if (topK === undefined) {
    if (phsa?.dense !== false || attention !== 'dense') return attention
    return refuseParameter('phsa.dense', 'this server attends densely unless told a topK; give phsa.topK.')
  }
  if (topK < minTopK || topK > maxTopK) refuseParameter('phsa.topK', `phsa.topK is ${topK}; this server takes ${minTopK} to ${maxTopK}.`)
  return { topK }
}

function stopIdsOf({ stop_token_ids, ignore_eos }: SamplingBody, { engine, settings }: ApiContext): number[] {
  const own = stop_token_ids ?? []
  const { vocabSize } = engine.limits
  const unknown = own.find((id) => id >= vocabSize)
  if (unknown !== undefined) refuseParameter('stop_token_ids', `stop_token_ids has ${unknown}; the model has 0 to ${vocabSize - 1}.`)
  return [...new Set([...(ignore_eos ? [] : settings.stopTokenIds), ...own])]
}

/** A constrained text needs a token that ends it: the model's own, or the tokenizer's. */
function constraintOf(
  grammar: string | undefined,
  { stop_token_ids, ignore_eos }: SamplingBody,
  { settings, tokenizer }: ApiContext,
): Pick<EngineRequest, 'grammar' | 'stopTokenIds'> | undefined {
  if (grammar === undefined) return undefined
  if (ignore_eos) refuseParameter('ignore_eos', 'ignore_eos cannot go with a response_format or a forced call, whose texts have an end.')
  const usual = tokenizer.eosTokenId === undefined ? [] : [tokenizer.eosTokenId]
  const ends = settings.stopTokenIds.length > 0 ? settings.stopTokenIds : usual
  if (ends.length === 0)
    refuseParameter(
      'response_format',
      'this model has no token that ends a text, which a constrained text needs; leave response_format out.',
    )
  return { grammar, stopTokenIds: [...new Set([...ends, ...(stop_token_ids ?? [])])] }
}

function maxTokensOf(prompt: Int32Array, index: number, details: PlanDetails, limit: number): number {
  const { prompts, promptParam, maxTokens, maxTokensParam } = details
  const which = prompts.length > 1 ? `prompt ${index}` : 'the prompt'
  if (prompt.length === 0) refuseParameter(promptParam, `${which} has no tokens; give at least one to continue from.`)
  if (prompt.length >= limit) {
    throw new ApiError(400, `${which} has ${prompt.length} tokens; this model takes ${limit} with the answer. Shorten it.`, {
      param: promptParam,
      code: 'context_length_exceeded',
    })
  }
  const room = limit - prompt.length
  if (maxTokens !== undefined && maxTokens > room) {
    throw new ApiError(
      400,
      `${which} has ${prompt.length} tokens and ${maxTokens} more are asked for; this model takes ${limit} together.`,
      {
        param: maxTokensParam,
        code: 'context_length_exceeded',
      },
    )
  }
  return maxTokens ?? room
}

function requireKnownIds(prompt: Int32Array, param: string, vocabSize: number): void {
  const unknown = prompt.find((id) => id < 0 || id >= vocabSize)
  if (unknown !== undefined) refuseParameter(param, `${param} has the token id ${unknown}; the model has 0 to ${vocabSize - 1}.`)
}
