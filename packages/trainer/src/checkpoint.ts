import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { InvalidFileError, streamSafetensors, type Tensor } from '@phsa/core'
import { type DecoderConfig, type DecoderModel, parseDecoderConfig, saveModel } from '@phsa/model'
import { checkpointName, RECORD_FILE, syncToDisk } from './checkpoint-folder.js'
import type { Optimizer } from './optimizer.js'
import { readSafetensors, readSafetensorsEntries } from './safetensors-disk.js'
import { parseRecord, type TrainingRecord } from './training-record.js'

const CONFIG_FILE = 'config.json'
const MODEL_FILE = 'model.safetensors'
const OPTIMIZER_FILE = 'optimizer.safetensors'

/** Ends the name of an f32 copy; see `Optimizer.state`. */
const MASTER = '.master'

/** Element types that parameters and optimizer state are written in. */
const FLOAT_TYPES: ReadonlySet<string> = new Set(['F32', 'F16', 'BF16', 'F64'])

/** What a checkpoint is written from. */
export interface CheckpointContent {
  readonly model: DecoderModel
  readonly optimizer: Optimizer
  readonly record: TrainingRecord
  readonly tokenizerFrom?: string
}

/**
 * Writes a checkpoint: a Hugging Face model folder, the optimizer's state and the run's. It is written beside its place, flushed, and
 * renamed, so that a folder of this name is always whole.
 * @returns its folder
 * @throws InvalidFileError when it cannot be written; what was there before stays
 */
export async function writeCheckpoint(folder: string, { model, optimizer, record, tokenizerFrom }: CheckpointContent): Promise<string> {
  const name = checkpointName(record.step)
  const [target, temporary] = [join(folder, name), join(folder, `.${name}.tmp`)]
  try {
    // In one file: it is read a tensor at a time, whatever its size.
    await saveModel(model, temporary, { tokenizerFrom, maxShardBytes: Number.POSITIVE_INFINITY })
    await writeFile(join(temporary, OPTIMIZER_FILE), optimizerParts(model, optimizer))
    await writeFile(join(temporary, RECORD_FILE), `${JSON.stringify(record, undefined, 2)}\n`)
    for (const file of await readdir(temporary)) await syncToDisk(join(temporary, file))
    await syncToDisk(temporary)
    await rename(temporary, target)
    await syncToDisk(folder)
  } catch (cause) {
    await rm(temporary, { recursive: true, force: true })
    throw new InvalidFileError(
      `checkpoint ${target} could not be written (${(cause as Error).message}); earlier checkpoints are untouched. Is the disk full?`,
      { cause },
    )
  }
  return target
}

/**
 * Puts a checkpoint's parameters and optimizer state in place of the present ones.
 * Both files are checked before the first tensor is written.
 * @throws InvalidFileError when it is damaged or belongs to another model; model and optimizer are then as they were
 */
export async function restoreCheckpoint(path: string, model: DecoderModel, optimizer: Optimizer): Promise<void> {
  await requireSameModel(path, model)
  const [modelFile, optimizerFile] = [join(path, MODEL_FILE), join(path, OPTIMIZER_FILE)]
  const targets = optimizerTargets(model, optimizer)
  await requireTensors(modelFile, model.parameters)
  await requireTensors(optimizerFile, targets)
  await writeAll(model, modelFile, model.parameters)
  // First from the parameters, for a checkpoint that was written with another element type; its own copies, where it has them, follow.
  optimizer.syncMasters()
  await writeAll(model, optimizerFile, targets)
}

/** @throws InvalidFileError when the file is missing or damaged */
export async function readRecord(path: string): Promise<TrainingRecord> {
  const file = join(path, RECORD_FILE)
  try {
    return parseRecord(JSON.parse(await readFile(file, 'utf8')))
  } catch (cause) {
    throw new InvalidFileError(`${file} is no record of a training run (${(cause as Error).message}); give another checkpoint.`, { cause })
  }
}

/** Bytes that one checkpoint takes, without the tokenizer. */
export function checkpointBytes(model: DecoderModel): number {
  const sixteenBit = model.dtype === 'bf16' || model.dtype === 'f16'
  const bytesPerParameter = (sixteenBit ? 2 : 4) + 8 + (sixteenBit ? 4 : 0)
  return model.parameterCount * bytesPerParameter
}

/** Settings that decide what the parameters compute: two models may differ in them and have parameters of the same names and shapes. */
const MODEL_SETTINGS = [
  'vocabSize',
  'hiddenSize',
  'intermediateSize',
  'layers',
  'heads',
  'kvHeads',
  'headDim',
  'rmsNormEpsilon',
  'ropeTheta',
  'ropeScaling',
  'tieWordEmbeddings',
] as const satisfies readonly (keyof DecoderConfig)[]

async function requireSameModel(path: string, { config }: DecoderModel): Promise<void> {
  const file = join(path, CONFIG_FILE)
  const written = await readDecoderConfig(file)
  const other = MODEL_SETTINGS.find((setting) => !isDeepStrictEqual(written[setting], config[setting]))
  if (other === undefined) return
  throw new InvalidFileError(
    `${file}: ${other} is ${JSON.stringify(written[other])}, this model's is ${JSON.stringify(config[other])}; resume with the model that was trained.`,
  )
}

async function readDecoderConfig(file: string): Promise<DecoderConfig> {
  try {
    return parseDecoderConfig(JSON.parse(await readFile(file, 'utf8')))
  } catch (cause) {
    throw new InvalidFileError(`${file} is no model configuration (${(cause as Error).message}); give another checkpoint.`, { cause })
  }
}

/** The optimizer's file in parts: the header from the shapes, then a tensor at a time, so that one of them is on the host at once. */
function optimizerParts({ backend }: DecoderModel, { state }: Optimizer): AsyncGenerator<Uint8Array> {
  const described = new Map([...state].map(([name, { shape }]) => [name, { type: 'F32', shape } as const]))
  return streamSafetensors(described, (name) => backend.memory.download(state.get(name)!))
}

/**
 * Where each tensor of the optimizer's file goes: its state, and a 16-bit run's f32 copy into the parameter itself where the model has no
 * copies, because it is the finer value.
 */
function optimizerTargets(model: DecoderModel, optimizer: Optimizer): ReadonlyMap<string, Tensor> {
  const targets = new Map(optimizer.state)
  for (const [name, tensor] of model.parameters) {
    const master = `${name}${MASTER}`
    if (!targets.has(master)) targets.set(master, tensor)
  }
  return targets
}

/**
 * Checks names, shapes and element types by the file's header, so that a damaged file is found before anything is written.
 * @throws InvalidFileError naming the tensor
 */
async function requireTensors(path: string, tensors: ReadonlyMap<string, Tensor>): Promise<void> {
  const entries = await readSafetensorsEntries(path)
  // A 16-bit run has an f32 copy of every parameter, any other run of none.
  const hasMasters = [...entries.keys()].some((name) => name.endsWith(MASTER))
  for (const [name, { shape }] of tensors) {
    const entry = entries.get(name)
    if (!entry) {
      if (name.endsWith(MASTER) && !hasMasters) continue
      throw new InvalidFileError(`${path} lacks ${name}; give another checkpoint, or resume with the model that was trained.`)
    }
    if (entry.shape.length !== shape.length || entry.shape.some((extent, axis) => extent !== shape[axis])) {
      throw new InvalidFileError(
        `${path}: ${name} is [${entry.shape}], this model's is [${shape}]; give another checkpoint, or resume with the model that was trained.`,
      )
    }
    if (!FLOAT_TYPES.has(entry.type)) {
      throw new InvalidFileError(`${path}: ${name} is ${entry.type}; ${[...FLOAT_TYPES].join(', ')} are read. Give another checkpoint.`)
    }
  }
}

async function writeAll(model: DecoderModel, path: string, tensors: ReadonlyMap<string, Tensor>): Promise<void> {
  for await (const [name, { data }] of readSafetensors(path)) {
    const tensor = tensors.get(name)
    if (tensor) model.backend.memory.write(tensor, tensor.dtype === 'f64' ? Float64Array.from(data) : Float32Array.from(data))
  }
}
