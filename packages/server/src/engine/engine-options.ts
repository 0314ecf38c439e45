import { attentionSpec, densePolicy, MAX_TOP_K, type PhsaConfig, type PunctuationTable, phsaPolicy } from '@phsa/core'
import { type AttentionChoice, type DecoderModel, defaultPageTokens, InvalidInputError } from '@phsa/model'
import type { TextConstraints } from '../constrain/text-constraint.js'
import type { EngineAttention, EngineLimits } from './engine-client.js'

/** What an engine runs and how much at once. */
export interface EngineOptions {
  /** Stays the caller's, like its backend. */
  readonly model: DecoderModel
  /** Without it no token counts as punctuation, and a block's representative is its mean. */
  readonly punctuation?: PunctuationTable
  /** How blocks are chosen; default: PHSA with the model's own parameters. */
  readonly attention?: AttentionChoice
  /** What a request without `attention` gets; default: the topK of `attention`. */
  readonly defaultAttention?: EngineAttention
  /** Bounds of a request's topK; default 0 and 64. */
  readonly minTopK?: number
  readonly maxTopK?: number
  /** Whether requests may ask for dense attention; default true. */
  readonly dense?: boolean
  /** Most tokens of prompt and text together; default: the model's positions. Never more than the cache holds. */
  readonly maxTokens?: number
  /** Tokens that the caches hold, of all requests together, rounded up to pages; default: those of one longest request. */
  readonly cacheTokens?: number
  /** A multiple of the block size; default: the least that is 64 or more. */
  readonly pageTokens?: number
  /** Requests in one step; default 16 where work blocks the calling thread, else 64. */
  readonly maxSequences?: number
  /** Tokens in one step, prompts and decoding together; default 512 where work blocks the calling thread, else 4096. */
  readonly stepTokens?: number
  /** Tokens in a step of prompts alone, while no request decodes; default: stepTokens where work blocks the calling thread, else four times as many. */
  readonly promptTokens?: number
  /** Requests that may wait for pages or a place before more are refused; default 256. */
  readonly maxWaiting?: number
  /** Most of a request's `logprobs`; default 20. */
  readonly maxLogprobs?: number
  /** Of every so many decoding steps one is attended to densely too, and its recall goes into the stats; default 0: none. */
  readonly recallEvery?: number
  /** Follows the grammars of requests; without it they are refused. Stays the caller's. */
  readonly constraints?: TextConstraints
}

/** Engine options with nothing left open. */
export interface CompleteEngineOptions {
  readonly model: DecoderModel
  readonly punctuation: PunctuationTable | undefined
  readonly constraints: TextConstraints | undefined
  readonly recallEvery: number
  readonly attention: AttentionChoice
  /** The policy's own configuration. */
  readonly phsa: PhsaConfig
  readonly pages: number
  readonly pageTokens: number
  readonly maxSequences: number
  readonly stepTokens: number
  readonly promptTokens: number
  readonly limits: EngineLimits
}

/**
 * Fills in what is left open.
 * @throws InvalidInputError that names the option
 */
export function completeEngineOptions(options: EngineOptions): CompleteEngineOptions {
  const { model } = options
  const { blocking } = model.backend.limits
  const attention = options.attention ?? { policy: phsaPolicy, phsa: model.phsa }
  const phsa = attention.policy.configure(attention.phsa)
  const pageTokens = options.pageTokens ?? defaultPageTokens(phsa.blockSize)
  requireCount('pageTokens', pageTokens, phsa.blockSize)
  if (pageTokens % phsa.blockSize !== 0) {
    throw new InvalidInputError(`pageTokens is ${pageTokens}; it must be a multiple of the block size, which is ${phsa.blockSize}.`)
  }
  const { vocabSize } = model.config
  if (options.punctuation && options.punctuation.size < vocabSize) {
    throw new InvalidInputError(
      `the punctuation table has ${options.punctuation.size} tokens, the model ${vocabSize}; make it with the size of the model's vocabulary.`,
    )
  }
  const wanted = Math.min(options.maxTokens ?? model.config.maxPositions, model.config.maxPositions)
  requireCount('maxTokens', wanted, 2)
  const cacheTokens = options.cacheTokens ?? wanted
  requireCount('cacheTokens', cacheTokens, 2)
  const pages = Math.ceil(cacheTokens / pageTokens)
  const maxSequences = options.maxSequences ?? (blocking ? 16 : 64)
  requireCount('maxSequences', maxSequences, 1)
  const stepTokens = options.stepTokens ?? Math.max(maxSequences, blocking ? 512 : 4096)
  // Every running sequence advances in every step.
  requireCount('stepTokens', stepTokens, maxSequences)
  const promptTokens = options.promptTokens ?? (blocking ? 1 : 4) * stepTokens
  requireCount('promptTokens', promptTokens, stepTokens)
  const recallEvery = options.recallEvery ?? 0
  requireCount('recallEvery', recallEvery, 0)
  return {
    model,
    punctuation: options.punctuation,
    constraints: options.constraints,
    recallEvery,
    attention,
    phsa,
    pages,
    pageTokens,
    maxSequences,
    stepTokens,
    promptTokens,
    limits: engineLimits(options, attention, phsa, Math.min(wanted, pages * pageTokens)),
  }
}

function engineLimits(options: EngineOptions, { policy }: AttentionChoice, phsa: PhsaConfig, maxTokens: number): EngineLimits {
  const { minTopK = 0, maxWaiting = 256, maxLogprobs = 20 } = options
  const isDenseOnly = policy.name === densePolicy.name
  const maxTopK = isDenseOnly ? 0 : (options.maxTopK ?? MAX_TOP_K)
  requireCount('maxTopK', maxTopK, 0, MAX_TOP_K)
  requireCount('minTopK', minTopK, 0, maxTopK)
  requireCount('maxWaiting', maxWaiting, 1)
  requireCount('maxLogprobs', maxLogprobs, 0)
  const attention = options.defaultAttention ?? (isDenseOnly ? 'dense' : { topK: phsa.topK })
  if (attention !== 'dense') {
    if (isDenseOnly) throw new InvalidInputError(`defaultAttention asks for topK ${attention.topK}, but the policy is dense; leave it out.`)
    requireCount('topK of defaultAttention', attention.topK, minTopK, maxTopK)
  }
  return {
    maxTokens,
    vocabSize: options.model.config.vocabSize,
    minTopK,
    maxTopK,
    attention,
    dense: attention === 'dense' || (options.dense ?? true),
    maxLogprobs,
    maxWaiting,
    spec: policy.spec(attentionSpec(phsa, { ...options.model.config, dtype: options.model.dtype })),
  }
}

function requireCount(name: string, value: number, least: number, most = 2 ** 30): void {
  if (Number.isInteger(value) && value >= least && value <= most) return
  throw new InvalidInputError(`${name} is ${value}; it must be an integer from ${least} to ${most}.`)
}
