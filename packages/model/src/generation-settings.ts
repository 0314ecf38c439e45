import { InvalidConfigError, inWords } from '@phsa/core'
import { atLeast, count, flag, positive } from './config-numbers.js'
import { tokenIds } from './decoder-config.js'
import { isRecord } from './is-record.js'
import type { SamplingSettings } from './sampling-settings.js'

/**
 * How a model's makers let it generate, from generation_config.json. Nothing takes it unasked: spread it into the options of `generate` or
 * `generateText`, before your own. Entries that the file leaves open are absent.
 */
export interface GenerationSettings {
  /** Ids that end the text; a loaded model's `config.eosTokenIds` are these already. */
  readonly stopTokenIds?: readonly number[]
  /** Absent where the file asks for the likeliest token and no repetition penalty. */
  readonly sampling?: SamplingSettings
  readonly maxNewTokens?: number
  /** The text ends before the first of these, unlike in transformers, which gives it out. */
  readonly stop?: readonly string[]
  /** Settings of the file that would change the text and are not followed, by their names there. */
  readonly unsupported?: readonly string[]
}

type Json = Record<string, unknown>

/** What transformers keeps of the likeliest tokens where it samples and the file says nothing. */
const USUAL_TOP_K = 50

/** Settings of transformers that change the text and that we do not have, with the values that change nothing; null and absent never do. */
const UNSUPPORTED: Readonly<Record<string, readonly unknown[]>> = {
  bad_words_ids: [],
  begin_suppress_tokens: [],
  constraints: [],
  dola_layers: [],
  encoder_no_repeat_ngram_size: [0],
  encoder_repetition_penalty: [1],
  epsilon_cutoff: [0],
  eta_cutoff: [0],
  exponential_decay_length_penalty: [],
  force_words_ids: [],
  forced_bos_token_id: [],
  forced_eos_token_id: [],
  guidance_scale: [1],
  max_length: [20],
  max_time: [],
  min_length: [0],
  min_new_tokens: [0],
  no_repeat_ngram_size: [0],
  num_beams: [1],
  penalty_alpha: [0],
  remove_invalid_values: [false],
  sequence_bias: [],
  suppress_tokens: [],
  top_h: [],
  typical_p: [1],
  watermarking_config: [],
}

/**
 * Reads a parsed generation_config.json. What its settings mean is what they mean to transformers: without `do_sample` the likeliest token is taken, with it
 * `top_k` is 50 unless told.
 * @throws InvalidConfigError naming the setting
 */
export function parseGenerationSettings(json: unknown): GenerationSettings {
  if (!isRecord(json)) throw new InvalidConfigError('generation_config.json', 'generation_config.json must hold one JSON object.')
  const ids = tokenIds(json, 'eos_token_id')
  const sampling = readSampling(json)
  const maxNewTokens = optional(json, 'max_new_tokens', count)
  const stop = readStop(json)
  const unsupported = Object.entries(UNSUPPORTED).flatMap(([name, neutral]) => {
    const value = json[name] ?? null
    return value === null || neutral.includes(value) ? [] : [name]
  })
  return {
    ...(ids.length > 0 && { stopTokenIds: ids }),
    ...(sampling && { sampling }),
    ...(maxNewTokens !== undefined && { maxNewTokens }),
    ...(stop.length > 0 && { stop }),
    ...(unsupported.length > 0 && { unsupported }),
  }
}

/**
 * The generation_config.json of these settings: `parseGenerationSettings` reads the same again, but for the seed and what is unsupported.
 * @param eosTokenIds of the model; the settings' own come first
 * @param written a generation_config.json whose other special tokens stay
 */
export function generationSettingsJson(
  { stopTokenIds, sampling, maxNewTokens, stop }: GenerationSettings,
  eosTokenIds: readonly number[],
  written: Readonly<Json> = {},
): Json {
  const ids = stopTokenIds ?? eosTokenIds
  const samples = sampling !== undefined && sampling.temperature !== 0
  return {
    ...Object.fromEntries(['bos_token_id', 'pad_token_id'].flatMap((name) => (name in written ? [[name, written[name]]] : []))),
    eos_token_id: ids.length > 1 ? ids : (ids[0] ?? null),
    do_sample: samples,
    ...(samples && {
      temperature: sampling.temperature ?? 1,
      top_k: sampling.topK ?? 0,
      top_p: sampling.topP ?? 1,
      min_p: sampling.minP ?? 0,
    }),
    ...(sampling?.repetitionPenalty !== undefined && { repetition_penalty: sampling.repetitionPenalty }),
    ...(maxNewTokens !== undefined && { max_new_tokens: maxNewTokens }),
    ...(stop && { stop_strings: stop }),
  }
}

/** Every value is checked, also where it does not count because the file does not sample. */
function readSampling(json: Json): SamplingSettings | undefined {
  const zeroOrMore = (json: Json, name: string) => atLeast(0, json, name)
  const drawn = {
    temperature: optional(json, 'temperature', zeroOrMore) ?? 1,
    topK: optional(json, 'top_k', wholeNumber) ?? USUAL_TOP_K,
    topP: optional(json, 'top_p', (json, name) => atMostOne(json, name, positive)) ?? 1,
    minP: optional(json, 'min_p', (json, name) => atMostOne(json, name, zeroOrMore)) ?? 0,
  }
  const repetitionPenalty = optional(json, 'repetition_penalty', positive) ?? 1
  if (flag(json, 'do_sample')) return { ...drawn, repetitionPenalty }
  return repetitionPenalty === 1 ? undefined : { temperature: 0, repetitionPenalty }
}

function readStop(json: Json): string[] {
  const value = json.stop_strings ?? []
  const texts: unknown[] = Array.isArray(value) ? value : [value]
  if (texts.every((text): text is string => typeof text === 'string' && text !== '')) return texts
  throw new InvalidConfigError(
    'stop_strings',
    `stop_strings is ${inWords(value)}; it must be a text of at least one letter, or a list of them.`,
  )
}

function optional<T>(json: Json, name: string, read: (json: Json, name: string) => T): T | undefined {
  return (json[name] ?? undefined) === undefined ? undefined : read(json, name)
}

function wholeNumber(json: Json, name: string): number {
  const value = json[name]
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number
  throw new InvalidConfigError(name, `${name} is ${inWords(value)}; it must be an integer of at least 0; 0 keeps all tokens.`)
}

function atMostOne(json: Json, name: string, read: (json: Json, name: string) => number): number {
  const value = read(json, name)
  if (value <= 1) return value
  throw new InvalidConfigError(name, `${name} is ${value}; it must be at most 1.`)
}
