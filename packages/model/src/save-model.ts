import {
  type DType,
  InvalidFileError,
  type PhsaConfig,
  type SafetensorsData,
  type SafetensorsDescription,
  streamSafetensors,
} from '@phsa/core'
import type { DecoderConfig } from './decoder-config.js'
import { decoderConfigJson } from './decoder-config-json.js'
import type { DecoderModel } from './decoder-model.js'
import { writeDurably } from './durable-files.js'
import { type GenerationSettings, generationSettingsJson } from './generation-settings.js'
import { nodeModule } from './node-module.js'
import { CONFIG_FILE, replaceFolder, TOKENIZER_FILES } from './replace-folder.js'
import { planShards, shardIndexJson } from './shard-plan.js'
import { INDEX_FILE } from './weight-files.js'

/** What a saved folder holds besides the configuration, and how its weights are written. */
export interface SaveModelOptions {
  /** A folder whose tokenizer files are copied. */
  readonly tokenizerFrom?: string
  /** Element type in the file; default that of the model, f32 for an f64 one. */
  readonly type?: 'f32' | 'bf16' | 'f16'
  /** Most bytes of tensors in one file; more are written as shards with an index. Default 5e9; Infinity keeps them together. */
  readonly maxShardBytes?: number
  /**
   * Written to generation_config.json, `LoadedModel.generation` for instance. Without it that file is the one of the folder that the model was loaded from,
   * where it had one.
   */
  readonly generation?: GenerationSettings
  /** Writes each file; default: in pieces, and waits until it is on the disk. For one who counts or hashes what is written. */
  readonly writeFile?: FileWriter
}

/** Writes a file from its pieces, and settles when it is on the disk. */
export type FileWriter = (path: string, parts: Iterable<Uint8Array> | AsyncIterable<Uint8Array>) => Promise<void>

/** A model to be saved, wherever its weights are. */
export interface ModelContent {
  readonly config: DecoderConfig
  readonly phsa: PhsaConfig
  /** Element type of the weights where they are: the file's unless told. */
  readonly dtype: DType
  /** By Hugging Face name, in the order of the file. */
  readonly parameters: ReadonlyMap<string, { readonly shape: readonly number[] }>
  /** Elements of a parameter; asked for one by one. */
  read(name: string): Promise<SafetensorsData>
}

const FILE_TYPES = { f32: 'F32', bf16: 'BF16', f16: 'F16' } as const

/**
 * Writes a Hugging Face folder as transformers does; one tensor at a time is on the host. It is written under a temporary name beside its place, or within
 * a folder that is there, flushed, and then moved, so that a reader never sees half a file, nor weights of one save under the configuration of another; see
 * `replaceFolder` for a folder that is there already. Any failure before the move leaves what was there.
 * @throws InvalidFileError when `tokenizerFrom` has no tokenizer.json, or the files cannot be moved to their place; InvalidConfigError for `maxShardBytes`;
 * what the file system says when the folder cannot be written
 */
export async function saveModel(model: DecoderModel | ModelContent, folder: string, options: SaveModelOptions = {}): Promise<void> {
  const { mkdir, rm } = await nodeModule('node:fs/promises')
  const { existsSync } = await nodeModule('node:fs')
  const { dirname, join, resolve } = await nodeModule('node:path')
  const target = resolve(folder)
  if (options.tokenizerFrom !== undefined && !existsSync(join(options.tokenizerFrom, 'tokenizer.json'))) {
    throw new InvalidFileError(
      `${options.tokenizerFrom}: there is no tokenizer.json to copy; give a folder with one, or leave tokenizerFrom out.`,
    )
  }
  await mkdir(dirname(target), { recursive: true })
  // A folder that is there may be a disk of its own, or a link to one: what is moved into it must lie on the same.
  const id = crypto.randomUUID()
  const temporary = existsSync(target) ? join(target, `.${id}.partial`) : `${target}.${id}.partial`
  const previous = join(target, `.${id}.previous`)
  await mkdir(temporary)
  try {
    await writeFiles(model, temporary, options)
  } catch (error) {
    await rm(temporary, { recursive: true, force: true })
    throw error
  }
  try {
    await replaceFolder(temporary, target, previous)
  } catch (cause) {
    // Some files may be in place, and some of the older model moved away: nothing is removed, so that either can be put together.
    throw new InvalidFileError(
      `${target}: the files could not be moved into it (${(cause as Error).message}); those that are not there are in ${temporary}, those of a model before it in ${previous}.`,
      { cause },
    )
  }
}

async function writeFiles(model: DecoderModel | ModelContent, folder: string, options: SaveModelOptions): Promise<void> {
  const { existsSync } = await nodeModule('node:fs')
  const { readFile } = await nodeModule('node:fs/promises')
  const { join } = await nodeModule('node:path')
  const { config, phsa, dtype, parameters, read } = 'read' in model ? model : contentOf(model)
  const write = options.writeFile ?? writeDurably
  const writeJson = (name: string, json: object) =>
    write(join(folder, name), [new TextEncoder().encode(`${JSON.stringify(json, undefined, 2)}\n`)])
  const type = options.type ?? (dtype === 'bf16' || dtype === 'f16' ? dtype : 'f32')
  const described = new Map<string, SafetensorsDescription>()
  for (const [name, { shape }] of parameters) described.set(name, { type: FILE_TYPES[type], shape })
  const shards = planShards(described, options.maxShardBytes)
  for (const [file, shard] of shards) await write(join(folder, file), streamSafetensors(shard, read, { format: 'pt' }))
  const index = shardIndexJson(shards)
  if (index) await writeJson(INDEX_FILE, index)
  const generation = options.generation
    ? generationSettingsJson(options.generation, config.eosTokenIds, config.generationEntries)
    : config.generationEntries
  if (generation) await writeJson('generation_config.json', generation)
  for (const name of TOKENIZER_FILES) {
    const source = options.tokenizerFrom === undefined ? undefined : join(options.tokenizerFrom, name)
    if (source !== undefined && existsSync(source)) await write(join(folder, name), [await readFile(source)])
  }
  await writeJson(CONFIG_FILE, decoderConfigJson(config, phsa, type))
}

function contentOf({ config, phsa, dtype, parameters, backend }: DecoderModel): ModelContent {
  return { config, phsa, dtype, parameters, read: (name) => backend.memory.download(parameters.get(name)!) }
}
