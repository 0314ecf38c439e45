import {
  type DType,
  forLength,
  InvalidConfigError,
  InvalidFileError,
  isPhsaError,
  type ModelBackend,
  type PhsaConfig,
  type PunctuationSet,
  PunctuationTable,
  phsaConfig,
  type Tensor,
} from '@phsa/core'
import { type DecoderConfig, parseDecoderConfig, tokenIds } from './decoder-config.js'
import { DecoderModel } from './decoder-model.js'
import { folderFiles } from './folder-files.js'
import { isRecord } from './is-record.js'
import type { ModelFiles } from './model-files.js'
import { OUTPUT_HEAD, parameterShapes } from './parameter-shapes.js'
import { readJsonFile } from './text-file.js'
import { TextTokenizer } from './text-tokenizer.js'
import { openWeights, type WeightFiles } from './weight-files.js'

/** Where a loaded model runs, and what replaces the settings of its folder. */
export interface LoadModelOptions {
  readonly backend: ModelBackend
  /** Settings that replace those under `phsa` in config.json; without either, the paper's parameters for the model's longest sequence. */
  readonly phsa?: Partial<PhsaConfig>
  /** Element type on the backend, whatever the file has; default f32. */
  readonly dtype?: DType
  /** See `DecoderModelOptions`. */
  readonly recompute?: boolean
  /** Which characters are punctuation (spec 2); default `en`. */
  readonly punctuationSet?: PunctuationSet
}

/** A model with what its folder says about text. */
export interface LoadedModel {
  readonly model: DecoderModel
  /** Undefined where the folder has no tokenizer.json. */
  readonly tokenizer: TextTokenizer | undefined
  readonly punctuation: PunctuationTable | undefined
}

/**
 * Opens a Hugging Face folder: config.json, model.safetensors (or its shards; F32, BF16 or F16), and tokenizer.json where there is one. Weights are
 * read tensor by tensor. Not inside of a memory scope.
 * @param source a folder, or files from elsewhere, which stay open
 * @throws InvalidFileError naming file and tensor; InvalidConfigError naming the setting; UnsupportedError
 */
export async function loadModel(source: string | ModelFiles, options: LoadModelOptions): Promise<LoadedModel> {
  const files = typeof source === 'string' ? await folderFiles(source) : source
  try {
    const { config, phsa } = await readConfig(files, options.phsa)
    const { tokenizer, punctuation } = await readTokenizer(files, config, options.punctuationSet)
    const weights = await openWeights(files)
    requireWeights(weights, config)
    return { model: await uploadModel(weights, config, phsa, options), tokenizer, punctuation }
  } finally {
    if (typeof source === 'string') await files.close()
  }
}

async function readConfig(
  files: ModelFiles,
  overrides: Partial<PhsaConfig> | undefined,
): Promise<{ config: DecoderConfig; phsa: PhsaConfig }> {
  const json = await readJsonFile(files, 'config.json')
  if (json === undefined) throw new InvalidFileError(`${files.label}: there is no config.json; give the folder of a Hugging Face model.`)
  const generation = await readJsonFile(files, 'generation_config.json')
  try {
    const parsed = parseDecoderConfig(json)
    const generationIds = isRecord(generation) ? tokenIds(generation, 'eos_token_id') : []
    const config = { ...parsed, eosTokenIds: generationIds.length > 0 ? generationIds : parsed.eosTokenIds }
    const stored = isRecord(json) && isRecord(json.phsa) ? (json.phsa as Partial<PhsaConfig>) : {}
    return { config, phsa: phsaConfig({ ...stored, ...overrides }, forLength(config.maxPositions)) }
  } catch (cause) {
    if (!isPhsaError(cause, 'invalid-config')) throw cause
    throw new InvalidConfigError((cause as InvalidConfigError).setting, `${files.label}/config.json: ${cause.message}`, { cause })
  }
}

async function readTokenizer(
  files: ModelFiles,
  config: DecoderConfig,
  set: PunctuationSet | undefined,
): Promise<Pick<LoadedModel, 'tokenizer' | 'punctuation'>> {
  const tokenizer = await TextTokenizer.fromFiles(files)
  if (!tokenizer) return { tokenizer: undefined, punctuation: undefined }
  if (tokenizer.vocabSize > config.vocabSize) {
    throw new InvalidFileError(
      `${files.label}/tokenizer.json: it has ids up to ${tokenizer.vocabSize - 1}, but the model's vocab_size is ${config.vocabSize}; they do not belong together.`,
    )
  }
  const padding = tokenizer.padTokenId
  const never = padding === undefined ? [] : [padding]
  return { tokenizer, punctuation: PunctuationTable.fromTokenizer(tokenizer.json, { set, size: config.vocabSize, never }) }
}

/** Compares names and shapes before anything is read. With a tied head an `lm_head.weight` in the file is a copy and left alone. */
function requireWeights(weights: WeightFiles, config: DecoderConfig): void {
  const shapes = parameterShapes(config)
  for (const [name, shape] of shapes) {
    if (!weights.names.has(name)) throw new InvalidFileError(`${weights.labelOf(name)}: tensor ${name} [${shape}] is missing.`)
    const found = weights.shape(name)
    if (found.join() !== shape.join()) {
      throw new InvalidFileError(`${weights.labelOf(name)}: tensor ${name} is [${found}]; config.json makes it [${shape}].`)
    }
  }
  const extra = [...weights.names].filter((name) => !shapes.has(name) && !(config.tieWordEmbeddings && name === OUTPUT_HEAD))
  if (extra.length > 0) {
    const more = extra.length > 3 ? ` and ${extra.length - 3} more` : ''
    throw new InvalidFileError(
      `${weights.labelOf(extra[0])}: tensor ${extra.slice(0, 3).join(', ')}${more} is not part of a Qwen3 decoder of this config.json; loading without it would give another model.`,
    )
  }
}

async function uploadModel(
  weights: WeightFiles,
  config: DecoderConfig,
  phsa: PhsaConfig,
  { backend, dtype = 'f32', recompute }: LoadModelOptions,
): Promise<DecoderModel> {
  const parameters = new Map<string, Tensor>()
  try {
    for (const [name, shape] of parameterShapes(config)) {
      const values = await weights.read(name)
      parameters.set(name, backend.memory.upload(dtype === 'f64' ? Float64Array.from(values) : values, shape, dtype))
    }
    return new DecoderModel({ config, backend, phsa, dtype, recompute }, parameters)
  } catch (error) {
    for (const tensor of parameters.values()) tensor.dispose()
    throw error
  }
}
