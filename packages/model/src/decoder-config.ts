import { InvalidConfigError, inWords } from '@phsa/core'
import { count, flag, positive } from './config-numbers.js'
import { readRope, requireRopeScaling } from './decoder-config-rope.js'
import { isRecord } from './is-record.js'
import type { RopeScaling } from './rope-scaling.js'

/** Shape of a Qwen3-class decoder: grouped-query attention with QK norm and RoPE, SwiGLU, RMS norm, no biases. */
export interface DecoderConfig {
  readonly vocabSize: number
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly layers: number
  /** Hq; a multiple of kvHeads. */
  readonly heads: number
  /** Hkv. */
  readonly kvHeads: number
  /** D; even. heads x headDim need not be hiddenSize. */
  readonly headDim: number
  readonly rmsNormEpsilon: number
  readonly ropeTheta: number
  /** Absent: none. Does not raise maxPositions, as in transformers. */
  readonly ropeScaling?: RopeScaling
  /** Longest sequence. */
  readonly maxPositions: number
  /** Whether the output projection is the embedding table. */
  readonly tieWordEmbeddings: boolean
  /** Ids that end a generation; may be empty. */
  readonly eosTokenIds: readonly number[]
  /** Entries of the config.json that it was read from which nothing here reads, such as `pad_token_id`: a saved model has them again. */
  readonly otherEntries?: Readonly<Record<string, unknown>>
  /** The generation_config.json of the folder that it was loaded from: a saved model has it again. */
  readonly generationEntries?: Readonly<Record<string, unknown>>
}

/** Entries of a config.json that change nothing here, as transformers has them where a file says nothing: a saved model has them unless its source differed. */
export const USUAL_ENTRIES: Readonly<Record<string, unknown>> = {
  attention_dropout: 0,
  bos_token_id: null,
  initializer_range: 0.02,
  sliding_window: null,
  use_cache: true,
}

/** Entries of a config.json that follow from a `DecoderConfig` and the PHSA settings, or that are refused. */
const READ_ENTRIES: ReadonlySet<string> = new Set([
  'architectures',
  'attention_bias',
  'dtype',
  'eos_token_id',
  'head_dim',
  'hidden_act',
  'hidden_size',
  'intermediate_size',
  'layer_types',
  'max_position_embeddings',
  'model_type',
  'num_attention_heads',
  'num_hidden_layers',
  'num_key_value_heads',
  'phsa',
  'quantization_config',
  'rms_norm_eps',
  'rope_parameters',
  'rope_scaling',
  'rope_theta',
  'tie_word_embeddings',
  'torch_dtype',
  'use_sliding_window',
  'vocab_size',
])

/**
 * Reads a Hugging Face config.json, of transformers 4 (`rope_theta`) and 5 (`rope_parameters`).
 * @param json the parsed file
 * @throws InvalidConfigError naming the setting: another architecture, a RoPE scaling other than linear and YaRN, biases, sliding windows, or sizes that do not fit
 */
export function parseDecoderConfig(json: unknown): DecoderConfig {
  if (!isRecord(json)) throw new InvalidConfigError('config.json', 'config.json must hold one JSON object.')
  requireArchitecture(json)
  const config: DecoderConfig = {
    vocabSize: count(json, 'vocab_size'),
    hiddenSize: count(json, 'hidden_size'),
    intermediateSize: count(json, 'intermediate_size'),
    layers: count(json, 'num_hidden_layers'),
    heads: count(json, 'num_attention_heads'),
    kvHeads: count(json, 'num_key_value_heads'),
    headDim: count(json, 'head_dim'),
    rmsNormEpsilon: positive(json, 'rms_norm_eps'),
    ...readRope(json),
    maxPositions: count(json, 'max_position_embeddings'),
    tieWordEmbeddings: flag(json, 'tie_word_embeddings'),
    eosTokenIds: tokenIds(json, 'eos_token_id'),
    ...readOthers(json),
  }
  requireLayerTypes(json, config.layers)
  requireFit(config)
  return config
}

/**
 * Checks a configuration that was put together by hand.
 * @throws InvalidConfigError naming the setting
 */
export function requireFit({ heads, kvHeads, headDim, ropeTheta, ropeScaling }: DecoderConfig): void {
  if (heads % kvHeads !== 0) {
    throw new InvalidConfigError(
      'num_attention_heads',
      `num_attention_heads is ${heads}; it must be a multiple of num_key_value_heads, which is ${kvHeads}.`,
    )
  }
  if (headDim % 2 !== 0) throw new InvalidConfigError('head_dim', `head_dim is ${headDim}; rotary embedding needs an even number.`)
  if (ropeScaling !== undefined) requireRopeScaling(ropeScaling, ropeTheta)
}

/**
 * The ids of an `eos_token_id` entry: a number, a list, or nothing.
 * @throws InvalidConfigError for anything else
 */
export function tokenIds(json: Record<string, unknown>, name: string): number[] {
  const value = json[name] ?? []
  const ids: unknown[] = Array.isArray(value) ? value : [value]
  if (!ids.every((id): id is number => Number.isSafeInteger(id) && (id as number) >= 0)) {
    throw new InvalidConfigError(name, `${name} is ${inWords(value)}; it must be a token id, a list of them, or null.`)
  }
  return ids
}

function readOthers(json: Record<string, unknown>): Pick<DecoderConfig, 'otherEntries'> {
  const others = Object.entries(json).filter(
    ([name, value]) => !READ_ENTRIES.has(name) && !(Object.hasOwn(USUAL_ENTRIES, name) && USUAL_ENTRIES[name] === value),
  )
  return others.length > 0 ? { otherEntries: Object.fromEntries(others) } : {}
}

function requireArchitecture(json: Record<string, unknown>): void {
  only(json, 'model_type', ['qwen3'], 'Other architectures are not supported; convert the checkpoint or pick a Qwen3 one.')
  requireLanguageModel(json)
  only(json, 'hidden_act', ['silu', undefined])
  only(json, 'attention_bias', [false, null, undefined])
  only(json, 'use_sliding_window', [false, null, undefined], 'PHSA has a local window of its own (phsa.localTokens).')
  only(
    json,
    'quantization_config',
    [null, undefined],
    'Quantized weights are not supported; use the float32, float16 or bfloat16 checkpoint.',
  )
}

/** Other heads on the same layers have other architectures: a classifier, or the layers alone. */
function requireLanguageModel({ architectures }: Record<string, unknown>): void {
  if (architectures === undefined || architectures === null) return
  if (Array.isArray(architectures) && architectures.includes('Qwen3ForCausalLM')) return
  throw new InvalidConfigError(
    'architectures',
    `architectures is ${inWords(architectures)}; it must hold "Qwen3ForCausalLM", or be left out.`,
  )
}

function requireLayerTypes({ layer_types: types }: Record<string, unknown>, layers: number): void {
  if (types === undefined || types === null) return
  if (!Array.isArray(types) || types.length !== layers) {
    throw new InvalidConfigError(
      'layer_types',
      `layer_types is ${inWords(types)}; it must have one entry for each of the ${layers} layers of num_hidden_layers.`,
    )
  }
  const other: unknown = types.find((type) => type !== 'full_attention')
  if (other === undefined) return
  throw new InvalidConfigError('layer_types', `layer_types has ${inWords(other)}; every layer must be "full_attention".`)
}

function only(json: Record<string, unknown>, name: string, allowed: readonly unknown[], remedy = ''): void {
  if (allowed.includes(json[name])) return
  const choices = allowed.filter((value) => value !== undefined).map(inWords)
  throw new InvalidConfigError(name, `${name} is ${inWords(json[name])}; allowed: ${choices.join(', ')}. ${remedy}`.trimEnd())
}
