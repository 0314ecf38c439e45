import { completeSampling, InvalidInputError } from '@phsa/model'
import type { EngineAttention, EngineLimits, EngineRequest } from './engine-client.js'

/**
 * Checks a request against what the engine takes.
 * @returns how it attends
 * @throws InvalidInputError that says what was given and what is allowed
 */
export function checkRequest(request: EngineRequest, limits: EngineLimits): EngineAttention {
  const { prompt, maxTokens, logprobs, stopTokenIds } = request
  if (prompt.length === 0) throw new InvalidInputError('the prompt has no tokens; give at least one to continue from.')
  requireIds('prompt', prompt, limits)
  requireIds('stopTokenIds', stopTokenIds, limits)
  requireInteger('maxTokens', maxTokens, 1, limits.maxTokens)
  if (prompt.length + maxTokens > limits.maxTokens) {
    throw new InvalidInputError(
      `the prompt has ${prompt.length} tokens and ${maxTokens} more were asked for; there is room for ${limits.maxTokens} together.`,
    )
  }
  if (logprobs !== undefined) requireInteger('logprobs', logprobs, 0, limits.maxLogprobs)
  checkSampling(request, limits)
  return checkAttention(request.attention ?? limits.attention, limits)
}

function checkSampling({ sampling }: EngineRequest, limits: EngineLimits): void {
  const { presencePenalty, frequencyPenalty, logitBias, ...settings } = sampling
  completeSampling(settings)
  for (const [name, value] of Object.entries({ presencePenalty, frequencyPenalty })) {
    if (!Number.isFinite(value)) throw new InvalidInputError(`sampling.${name} is ${value}; it must be a finite number.`)
  }
  requireIds(
    'sampling.logitBias',
    logitBias.map(([id]) => id),
    limits,
  )
  const wrong = logitBias.find(([, bias]) => !Number.isFinite(bias))
  if (wrong) throw new InvalidInputError(`sampling.logitBias of token ${wrong[0]} is ${wrong[1]}; it must be a finite number.`)
}

function checkAttention(attention: EngineAttention, limits: EngineLimits): EngineAttention {
  if (attention !== 'dense') requireInteger('topK', attention.topK, limits.minTopK, limits.maxTopK)
  else if (!limits.dense) {
    throw new InvalidInputError(`dense attention is not offered here; ask for a topK from ${limits.minTopK} to ${limits.maxTopK}.`)
  }
  return attention
}

function requireIds(name: string, ids: ArrayLike<number>, { vocabSize }: EngineLimits): void {
  for (let index = 0; index < ids.length; index++) {
    // A long prompt is gone through, so the text of an error is made for what is wrong only.
    if (!isInteger(ids[index], 0, vocabSize - 1)) requireInteger(`${name}[${index}]`, ids[index], 0, vocabSize - 1)
  }
}

function requireInteger(name: string, value: number, least: number, most: number): void {
  if (isInteger(value, least, most)) return
  throw new InvalidInputError(`${name} is ${value}; it must be an integer from ${least} to ${most}.`)
}

function isInteger(value: number, least: number, most: number): boolean {
  return Number.isInteger(value) && value >= least && value <= most
}
