import { InvalidFileError, type SafetensorsTensor, serializeSafetensorsParts } from '@phsa/core'
import { decoderConfigJson } from './decoder-config-json.js'
import type { DecoderModel } from './decoder-model.js'

/** What a saved folder holds besides the configuration, and the type of its weights. */
export interface SaveModelOptions {
  /** A folder whose tokenizer files are copied. */
  readonly tokenizerFrom?: string
  /** Element type in the file; default bf16 for a bf16 model, else f32. */
  readonly type?: 'f32' | 'bf16'
}

/** What belongs to a tokenizer in a Hugging Face folder. */
const TOKENIZER_FILES = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
  'vocab.json',
  'merges.txt',
]

/**
 * Writes a Hugging Face folder that transformers opens. It is written beside its place under a temporary name and then renamed, so that a reader never
 * sees half a file; in a folder that is there already, only the files of the same names are replaced. Holds the weights once in host memory.
 * @throws InvalidFileError when `tokenizerFrom` has no tokenizer.json
 */
export async function saveModel(model: DecoderModel, folder: string, options: SaveModelOptions = {}): Promise<void> {
  const { copyFile, mkdir, rename, readdir, rm, writeFile } = await import('node:fs/promises')
  const { existsSync } = await import('node:fs')
  const { dirname, join, resolve } = await import('node:path')
  const target = resolve(folder)
  const type = options.type ?? (model.dtype === 'bf16' ? 'bf16' : 'f32')
  if (options.tokenizerFrom !== undefined && !existsSync(join(options.tokenizerFrom, 'tokenizer.json'))) {
    throw new InvalidFileError(
      `${options.tokenizerFrom}: there is no tokenizer.json to copy; give a folder with one, or leave tokenizerFrom out.`,
    )
  }
  await mkdir(dirname(target), { recursive: true })
  const temporary = `${target}.${crypto.randomUUID()}.partial`
  await mkdir(temporary)
  try {
    await writeFile(join(temporary, 'model.safetensors'), serializeSafetensorsParts(await downloadWeights(model, type), { format: 'pt' }))
    for (const name of TOKENIZER_FILES) {
      const source = options.tokenizerFrom === undefined ? undefined : join(options.tokenizerFrom, name)
      if (source !== undefined && existsSync(source)) await copyFile(source, join(temporary, name))
    }
    const config = decoderConfigJson(model.config, model.phsa, type)
    await writeFile(join(temporary, 'config.json'), `${JSON.stringify(config, undefined, 2)}\n`)
    if (existsSync(target)) for (const name of await readdir(temporary)) await rename(join(temporary, name), join(target, name))
    else await rename(temporary, target)
  } finally {
    await rm(temporary, { recursive: true, force: true })
  }
}

async function downloadWeights(model: DecoderModel, type: 'f32' | 'bf16'): Promise<Map<string, SafetensorsTensor>> {
  const weights = new Map<string, SafetensorsTensor>()
  for (const [name, tensor] of model.parameters) {
    const values = await model.backend.memory.download(tensor)
    const data = values instanceof Float32Array ? values : Float32Array.from(values)
    weights.set(name, type === 'bf16' ? { shape: tensor.shape, data, type: 'BF16' } : { shape: tensor.shape, data })
  }
  return weights
}
