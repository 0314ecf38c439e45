import type { AttentionSpec, ScoreKind } from './contract/attention-spec.js'
import type { DType } from './contract/tensor.js'
import { InvalidConfigError } from './errors/invalid-config-error.js'
import { inWords, shortened } from './in-words.js'

/** The parameters of PHSA (spec 1), as users set them and as a model's config.json keeps them under `phsa`. Plain JSON. */
export interface PhsaConfig {
  /** m, tokens a key block. */
  readonly blockSize: number
  /** First tokens, always visible; a multiple of blockSize. */
  readonly initTokens: number
  /** Local window, always visible; a multiple of blockSize, at least blockSize. */
  readonly localTokens: number
  /** Blocks chosen by score, 0 to 64. */
  readonly topK: number
  /** Weight of the global branch, 0 to 1: one number, or one per layer and KV head. */
  readonly lambda: number | readonly (readonly number[])[]
  /** r, sub-blocks with a representative of their own; divides blockSize. */
  readonly representatives: number
  readonly score: ScoreKind
  /** Queries at earlier positions attend densely. */
  readonly denseBelow: number
  /** Layers that attend densely whatever the rest says. */
  readonly denseLayers: readonly number[]
}

/** Most blocks that a query may select (spec 1). */
export const MAX_TOP_K = 64

/** The paper's parameters for contexts up to 4,096 tokens. */
export const PHSA_4K: PhsaConfig = {
  blockSize: 16,
  initTokens: 16,
  localTokens: 128,
  topK: 2,
  lambda: 0.5,
  representatives: 1,
  score: 'softmax',
  denseBelow: 0,
  denseLayers: [],
}

/** The paper's parameters for contexts of 32,768 tokens. */
export const PHSA_32K: PhsaConfig = { ...PHSA_4K, initTokens: 128, localTokens: 512 }

/** The paper's parameters for a context of `length` tokens: those of 4k up to 4,096, those of 32k beyond. */
export function forLength(length: number): PhsaConfig {
  if (!Number.isInteger(length) || length < 1)
    throw new InvalidConfigError('length', `length is ${length}; give a positive number of tokens.`)
  return length <= 4096 ? PHSA_4K : PHSA_32K
}

/**
 * Fills a partial configuration from `base` and checks it.
 * @throws InvalidConfigError naming the setting, its value and what is allowed
 */
export function phsaConfig(settings: Partial<PhsaConfig> = {}, base: PhsaConfig = PHSA_4K): PhsaConfig {
  const unknown = Object.keys(settings).find((name) => !Object.hasOwn(PHSA_4K, name))
  if (unknown !== undefined) {
    throw new InvalidConfigError(unknown, `${shortened(unknown)} is not a PHSA setting; there are ${Object.keys(PHSA_4K).join(', ')}.`)
  }
  const given = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined))
  const config: PhsaConfig = { ...base, ...given }
  const { blockSize, initTokens, localTokens, topK, representatives, denseBelow } = config
  requireInteger('blockSize', blockSize, 1)
  requireInteger('initTokens', initTokens, 0)
  requireInteger('localTokens', localTokens, blockSize)
  requireInteger('topK', topK, 0, MAX_TOP_K)
  requireInteger('representatives', representatives, 1)
  requireInteger('denseBelow', denseBelow, 0)
  requireMultiple('initTokens', initTokens, blockSize)
  requireMultiple('localTokens', localTokens, blockSize)
  if (blockSize % representatives !== 0) {
    throw new InvalidConfigError(
      'representatives',
      `representatives is ${representatives}; it must divide blockSize, which is ${blockSize}.`,
    )
  }
  requireScore(config)
  requireLambda(config.lambda)
  if (!Array.isArray(config.denseLayers)) {
    throw new InvalidConfigError('denseLayers', `denseLayers is ${inWords(config.denseLayers)}; give a list of layer indices.`)
  }
  for (const layer of config.denseLayers) requireInteger('denseLayers', layer, 0)
  return config
}

/** Heads and element type of a model: what a spec needs besides the PHSA parameters. */
export interface AttentionHeads {
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly dtype: DType
}

/** The kernel specification of a configuration. */
export function attentionSpec(config: PhsaConfig, { heads, kvHeads, headDim, dtype }: AttentionHeads): AttentionSpec {
  requireInteger('kvHeads', kvHeads, 1)
  requireInteger('heads', heads, 1)
  requireInteger('headDim', headDim, 1)
  if (heads % kvHeads !== 0)
    throw new InvalidConfigError('heads', `heads is ${heads}; it must be a multiple of kvHeads, which is ${kvHeads}.`)
  const { blockSize, initTokens, localTokens, topK, representatives, score, denseBelow } = config
  return { heads, kvHeads, headDim, dtype, blockSize, initTokens, localTokens, topK, representatives, score, denseBelow }
}

/** Lambda of each KV head of one layer. */
export function layerLambda(config: PhsaConfig, layer: number, kvHeads: number): Float32Array {
  if (typeof config.lambda === 'number') return new Float32Array(kvHeads).fill(config.lambda)
  const row = config.lambda[layer]
  if (row?.length !== kvHeads) {
    throw new InvalidConfigError(
      'lambda',
      `lambda has ${row?.length ?? 'no'} values for layer ${layer}; give one for each of its ${kvHeads} KV heads.`,
    )
  }
  return Float32Array.from(row)
}

function requireInteger(setting: string, value: unknown, least: number, most = 2 ** 30): void {
  if (!Number.isInteger(value) || (value as number) < least || (value as number) > most) {
    throw new InvalidConfigError(setting, `${setting} is ${inWords(value)}; it must be an integer from ${least} to ${most}.`)
  }
}

function requireMultiple(setting: string, value: number, blockSize: number): void {
  if (value % blockSize === 0) return
  const below = Math.floor(value / blockSize) * blockSize
  throw new InvalidConfigError(
    setting,
    `${setting} is ${value}; it must be a multiple of blockSize, which is ${blockSize}. Near it are ${below} and ${below + blockSize}.`,
  )
}

function requireScore({ score, blockSize, representatives }: PhsaConfig): void {
  if (!['softmax', 'logit', 'overlap'].includes(score)) {
    throw new InvalidConfigError('score', `score is ${inWords(score)}; it must be softmax, logit or overlap.`)
  }
  if (score === 'overlap' && blockSize !== 16 * representatives) {
    throw new InvalidConfigError(
      'score',
      `score overlap needs sub-blocks of 16 tokens; blockSize ${blockSize} with ${representatives} representatives makes them ${blockSize / representatives}. Use blockSize 16, 32 or 64 with representatives 1, 2 or 4.`,
    )
  }
}

function requireLambda(lambda: PhsaConfig['lambda']): void {
  const rows: readonly unknown[] = typeof lambda === 'number' ? [[lambda]] : Array.isArray(lambda) ? lambda : []
  // A flat list would be ambiguous between layers and heads: each row must be a list itself.
  const values: unknown[] = rows.every(Array.isArray) ? rows.flat() : []
  if (values.length > 0 && values.every((value) => typeof value === 'number' && value >= 0 && value <= 1)) return
  throw new InvalidConfigError(
    'lambda',
    `lambda is ${inWords(lambda)}; give a number from 0 to 1, or one list of them a layer with one a KV head.`,
  )
}
