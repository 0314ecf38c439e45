import {
  type DType,
  forLength,
  InvalidConfigError,
  InvalidFileError,
  isPhsaError,
  layerLambda,
  type ModelBackend,
  type PhsaConfig,
  type PunctuationSet,
  PunctuationTable,
  phsaConfig,
  phsaPolicy,
  shortened,
  type Tensor,
} from '@phsa/core'
import { planLayers } from './attention-choice.js'
import { type DecoderConfig, parseDecoderConfig } from './decoder-config.js'
import { DecoderModel } from './decoder-model.js'
import { folderFiles } from './folder-files.js'
import { type GenerationSettings, parseGenerationSettings } from './generation-settings.js'
import { isRecord } from './is-record.js'
import type { ModelFiles } from './model-files.js'
import { eachParameterShape, OUTPUT_HEAD, parameterShapes } from './parameter-shapes.js'
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
  /** Of generation_config.json; empty where there is none. */
  readonly generation: GenerationSettings
}

/** What a folder says about its model and about text, without the weights. */
export interface ModelDescription extends Omit<LoadedModel, 'model'> {
  readonly config: DecoderConfig
  readonly phsa: PhsaConfig
}

/**
 * Opens a Hugging Face folder: config.json, model.safetensors (or its shards; F32, BF16 or F16), and generation_config.json and tokenizer.json where there
 * are any. All that is small is checked before the first weight is read; weights are read tensor by tensor. Not inside of a memory scope.
 * @param source a folder, or files from elsewhere, which stay open
 * @throws InvalidFileError naming file and tensor; InvalidConfigError naming the file and the setting; UnsupportedError
 */
export async function loadModel(source: string | ModelFiles, options: LoadModelOptions): Promise<LoadedModel> {
  return withFiles(source, async (files) => {
    const { config, phsa, weights, ...rest } = await readDescription(files, options)
    return { model: await uploadModel(weights, config, phsa, options), ...rest }
  })
}

/**
 * Checks a folder as `loadModel` does, names and shapes of its tensors included, and reads no weight: in milliseconds, without a backend.
 * @param source a folder, or files from elsewhere, which stay open
 * @throws as `loadModel`
 */
export async function describeModel(
  source: string | ModelFiles,
  options: Pick<LoadModelOptions, 'phsa' | 'punctuationSet'> = {},
): Promise<ModelDescription> {
  return withFiles(source, async (files) => {
    const { weights: _, ...description } = await readDescription(files, options)
    return description
  })
}

async function withFiles<T>(source: string | ModelFiles, run: (files: ModelFiles) => Promise<T>): Promise<T> {
  const files = typeof source === 'string' ? await folderFiles(source) : source
  try {
    return await run(files)
  } finally {
    if (typeof source === 'string') await files.close()
  }
}

async function readDescription(
  files: ModelFiles,
  options: Pick<LoadModelOptions, 'phsa' | 'punctuationSet'>,
): Promise<ModelDescription & { weights: WeightFiles }> {
  const { config, phsa, generation } = await readConfig(files, options.phsa)
  const weights = await openWeights(files)
  requireWeights(weights, config)
  inFile(files, 'config.json', () => requireLayers(config, phsa))
  const { tokenizer, punctuation } = await readTokenizer(files, config, options.punctuationSet)
  await files.requireUnchanged?.()
  return { config, phsa, generation, weights, tokenizer, punctuation }
}

async function readConfig(
  files: ModelFiles,
  overrides: Partial<PhsaConfig> | undefined,
): Promise<{ config: DecoderConfig; phsa: PhsaConfig; generation: GenerationSettings }> {
  const json = await readJsonFile(files, 'config.json')
  if (json === undefined) {
    throw new InvalidFileError(
      `${files.label}: there is no config.json; give the folder of a Hugging Face model. It is written last: a save that was cut short leaves its files in a folder .partial there, and those of the model before in one .previous.`,
    )
  }
  const generationJson = await readJsonFile(files, 'generation_config.json')
  const generation = inFile(files, 'generation_config.json', () => parseGenerationSettings(generationJson ?? {}))
  return inFile(files, 'config.json', () => {
    const parsed = parseDecoderConfig(json)
    const config = {
      ...parsed,
      eosTokenIds: generation.stopTokenIds ?? parsed.eosTokenIds,
      ...(isRecord(generationJson) && { generationEntries: generationJson }),
    }
    const phsa = phsaConfig({ ...storedPhsa(json), ...overrides }, forLength(config.maxPositions))
    return { config, phsa, generation }
  })
}

function storedPhsa(json: unknown): Partial<PhsaConfig> {
  const stored = (isRecord(json) ? json.phsa : undefined) ?? {}
  if (isRecord(stored)) return stored
  throw new InvalidConfigError('phsa', 'phsa must be an object of settings, or be left out.')
}

/** Runs a check of settings; its error then names the file that they come from. */
function inFile<T>(files: ModelFiles, name: string, run: () => T): T {
  try {
    return run()
  } catch (cause) {
    if (!isPhsaError(cause, 'invalid-config')) throw cause
    throw new InvalidConfigError((cause as InvalidConfigError).setting, `${files.label}/${name}: ${cause.message}`, { cause })
  }
}

/** What the PHSA settings say of single layers must fit the model's. */
function requireLayers(config: DecoderConfig, phsa: PhsaConfig): void {
  planLayers({ policy: phsaPolicy, phsa }, config, 'f32')
  for (let layer = 0; layer < config.layers; layer++) layerLambda(phsa, layer, config.kvHeads)
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
  const punctuation = inFile(files, 'tokenizer.json', () =>
    PunctuationTable.fromTokenizer(tokenizer.json, { set, size: config.vocabSize, never }),
  )
  return { tokenizer, punctuation }
}

/** Compares names and shapes before anything is read. With a tied head an `lm_head.weight` in the file is a copy and left alone. */
function requireWeights(weights: WeightFiles, config: DecoderConfig): void {
  const known = new Set(config.tieWordEmbeddings ? [OUTPUT_HEAD] : [])
  for (const [name, shape] of eachParameterShape(config)) {
    if (!weights.names.has(name)) throw new InvalidFileError(`${weights.labelOf(name)}: tensor ${name} [${shape}] is missing.`)
    const found = weights.shape(name)
    if (found.join() !== shape.join()) {
      throw new InvalidFileError(`${weights.labelOf(name)}: tensor ${name} is [${found}]; config.json makes it [${shape}].`)
    }
    known.add(name)
  }
  const extra = [...weights.names].filter((name) => !known.has(name))
  if (extra.length > 0) {
    const more = extra.length > 3 ? ` and ${extra.length - 3} more` : ''
    throw new InvalidFileError(
      `${weights.labelOf(extra[0])}: tensor ${extra.slice(0, 3).map(shortened).join(', ')}${more} is not part of a Qwen3 decoder of this config.json; loading without it would give another model.`,
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
