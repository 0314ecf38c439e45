import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { elementCount, InvalidFileError, type SafetensorsTensor, type Tensor } from '@phsa/core'
import { type DecoderModel, saveModel } from '@phsa/model'
import { checkpointName, RECORD_FILE, syncToDisk } from './checkpoint-folder.js'
import type { Optimizer } from './optimizer.js'
import { readSafetensors, writeSafetensors } from './safetensors-disk.js'
import type { TrainingRecord } from './training-record.js'
import { parseRecord } from './training-record.js'

const MODEL_FILE = 'model.safetensors'
const OPTIMIZER_FILE = 'optimizer.safetensors'

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
    await saveModel(model, temporary, { tokenizerFrom, type: model.dtype === 'bf16' ? 'bf16' : 'f32' })
    await writeSafetensors(join(temporary, OPTIMIZER_FILE), await downloadAll(model, optimizer.state))
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
 * @throws InvalidFileError when it is damaged or belongs to a model of another shape
 */
export async function restoreCheckpoint(path: string, model: DecoderModel, optimizer: Optimizer): Promise<void> {
  await writeAll(model, join(path, MODEL_FILE), model.parameters)
  // First from the parameters, for a checkpoint that was written with another element type; its own copies, where it has them, follow.
  optimizer.syncMasters()
  await writeAll(model, join(path, OPTIMIZER_FILE), optimizer.state, (name) => name.endsWith('.master'))
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
  const bytesPerParameter = (model.dtype === 'bf16' ? 2 : 4) + 8 + (sixteenBit ? 4 : 0)
  return model.parameterCount * bytesPerParameter
}

async function downloadAll(model: DecoderModel, tensors: ReadonlyMap<string, Tensor>): Promise<Map<string, SafetensorsTensor>> {
  const downloaded = new Map<string, SafetensorsTensor>()
  for (const [name, tensor] of tensors) downloaded.set(name, { shape: tensor.shape, data: await model.backend.memory.download(tensor) })
  return downloaded
}

async function writeAll(
  model: DecoderModel,
  path: string,
  tensors: ReadonlyMap<string, Tensor>,
  isOptional: (name: string) => boolean = () => false,
): Promise<void> {
  const missing = new Set(tensors.keys())
  for await (const [name, { shape, data }] of readSafetensors(path)) {
    const tensor = tensors.get(name)
    // An output head beside tied embeddings is a copy; masters of a 16-bit run are of no use to an f32 one.
    if (!tensor) continue
    if (elementCount(shape) !== elementCount(tensor.shape)) {
      throw new InvalidFileError(
        `${path}: ${name} is [${shape}], this model's is [${tensor.shape}]; resume with the model that was trained.`,
      )
    }
    model.backend.memory.write(tensor, tensor.dtype === 'f64' ? Float64Array.from(data) : Float32Array.from(data))
    missing.delete(name)
  }
  const lost = [...missing].find((name) => !isOptional(name))
  if (lost !== undefined) throw new InvalidFileError(`${path} lacks ${lost}; resume with the model that was trained.`)
}
