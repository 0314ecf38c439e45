import { readFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { type DType, forLength, type HostArray, InvalidConfigError, InvalidFileError, phsaConfig } from '@phsa/core'
import { type ModelContent, parameterShapes, parseDecoderConfig, saveModel } from '@phsa/model'
import { isCheckpoint } from './checkpoint-folder.js'
import { type CheckpointChoice, findCheckpoint } from './find-checkpoint.js'
import { type Manifest, requireWhole } from './manifest.js'
import { readRecord } from './read-record.js'
import { readStored, type StoredTensors, storedTensors } from './stored-tensors.js'
import { OPTIMIZER_STEM } from './write-checkpoint.js'

/** What of a checkpoint becomes a model folder, and in which form. */
export interface ExportOptions {
  /** `ema` takes the moving average of the weights, where the run had one. Default current. */
  readonly weights?: 'current' | 'ema'
  /** Element type in the file; default that of the run. */
  readonly dtype?: 'f32' | 'bf16' | 'f16'
  /** Which one, where the path is a folder of several; default the newest. */
  readonly which?: CheckpointChoice
  /** Folder whose tokenizer files are copied where the checkpoint has none. */
  readonly tokenizerFrom?: string
  /** As of `saveModel`. */
  readonly maxShardBytes?: number
}

/** What was exported. */
export interface ExportedCheckpoint {
  /** Folder of the checkpoint. */
  readonly checkpoint: string
  /** Steps that it had done. */
  readonly step: number
}

/**
 * Writes a checkpoint's weights as a Hugging Face folder of the form that `transformers` writes: configuration, generation settings, tokenizer and weights, without
 * anything of the run. All of the checkpoint is hashed first; no backend is needed, and one tensor at a time is in memory.
 * @throws InvalidFileError where there is no checkpoint or no average; DamagedCheckpointError naming the damaged file; InvalidConfigError for `out`
 */
export async function exportCheckpoint(path: string, out: string, options: ExportOptions = {}): Promise<ExportedCheckpoint> {
  const checkpoint = await findCheckpoint(path, options.which)
  await requireOutside(out)
  const manifest = await requireWhole(checkpoint)
  const content = await contentOf(checkpoint, manifest, options)
  await saveModel(content, out, {
    type: options.dtype,
    maxShardBytes: options.maxShardBytes,
    tokenizerFrom: manifest.has('tokenizer.json') ? checkpoint : options.tokenizerFrom,
    // Where the run had none: the end tokens, and the likeliest one each time.
    ...(content.config.generationEntries ? {} : { generation: {} }),
  })
  return { checkpoint, step: (await readRecord(checkpoint)).step }
}

async function contentOf(path: string, manifest: Manifest, { weights = 'current', dtype }: ExportOptions): Promise<ModelContent> {
  const json = await readJson(join(path, 'config.json'))
  const config = parseDecoderConfig(json)
  const generationEntries = manifest.has('generation_config.json') ? await readJson(join(path, 'generation_config.json')) : undefined
  const model = await storedTensors(path, manifest, 'model')
  const state = await storedTensors(path, manifest, OPTIMIZER_STEM)
  const parameters = new Map([...parameterShapes(config)].map(([name, shape]) => [name, { shape }]))
  const stored = elementType(model)
  if (weights === 'ema' && ![...parameters.keys()].every((name) => state.places.has(`${name}.average`))) {
    throw new InvalidFileError(`${path} has no average of the weights: its run had no ema; export the current weights, or train with ema.`)
  }
  return {
    config: { ...config, ...(generationEntries && { generationEntries }) },
    phsa: phsaConfig(json.phsa ?? {}, forLength(config.maxPositions)),
    dtype: stored,
    parameters,
    read: (name): Promise<HostArray> => {
      if (weights === 'ema') return readStored(state, `${name}.average`)
      // A 16-bit run's f32 copies are finer, which its own type does not show.
      const isFiner = (dtype ?? stored) !== stored && state.places.has(`${name}.master`)
      return isFiner ? readStored(state, `${name}.master`) : readStored(model, name)
    },
  }
}

function elementType({ places }: StoredTensors): DType {
  const types = new Set([...places.values()].map(({ entry }) => entry.type))
  if (types.has('BF16')) return 'bf16'
  return types.has('F16') ? 'f16' : 'f32'
}

/** Hashed before, so it is the JSON that was written. */
async function readJson(file: string): Promise<Record<string, object>> {
  return JSON.parse(await readFile(file, 'utf8'))
}

/** Files that are moved into a checkpoint, this one or another, would leave it damaged. */
async function requireOutside(out: string): Promise<void> {
  for (let folder = resolve(out), above = ''; folder !== above; above = folder, folder = dirname(folder)) {
    if (!(await isCheckpoint(folder))) continue
    throw new InvalidConfigError('out', `${out} lies in the checkpoint ${folder}, which would no longer be whole; give another folder.`)
  }
}
