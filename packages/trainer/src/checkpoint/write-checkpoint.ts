import { rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { elementCount, InvalidFileError, isPhsaError, type SafetensorsDescription, streamSafetensors } from '@phsa/core'
import { type DecoderModel, planShards, saveModel } from '@phsa/model'
import type { Optimizer } from '../optimizer.js'
import type { TrainingRecord } from '../training-record.js'
import { checkpointName, listCheckpoints, RECORD_FILE } from './checkpoint-folder.js'
import { HashedFiles } from './hashed-files.js'
import { syncToDisk } from './sync-to-disk.js'

/** What the names of the optimizer's files begin with. */
export const OPTIMIZER_STEM = 'optimizer'

/** What a checkpoint is written from. */
export interface CheckpointContent {
  readonly model: DecoderModel
  readonly optimizer: Pick<Optimizer, 'state'>
  readonly record: TrainingRecord
  readonly tokenizerFrom?: string
  /** Most bytes of tensors in one file. */
  readonly maxShardBytes: number
}

/**
 * Writes a checkpoint: a Hugging Face model folder, the optimizer's state, the run's, and a list of all files with their hashes. It is written beside
 * its place, flushed, and renamed, so that a folder of this name is always whole. One tensor at a time is on the host.
 * @returns its folder
 * @throws InvalidFileError when it cannot be written, and what the backend throws; what was there before stays
 */
export async function writeCheckpoint(folder: string, content: CheckpointContent): Promise<string> {
  const name = checkpointName(content.record.step)
  const [target, temporary] = [join(folder, name), join(folder, `.${name}.tmp`)]
  try {
    await rm(temporary, { recursive: true, force: true })
    await writeFiles(temporary, content)
    await rename(temporary, target)
    await syncToDisk(folder)
  } catch (cause) {
    await rm(temporary, { recursive: true, force: true })
    // A lost device is no fault of the disk.
    if (isPhsaError(cause, 'backend-lost') || isPhsaError(cause, 'out-of-memory')) throw cause
    // A folder that cannot be read must not hide the error.
    const newest = (await listCheckpoints(folder).catch(() => [])).at(-1)
    const advice = newest === undefined ? '' : ` Resume from ${newest.path} to go on after step ${newest.step}.`
    throw new InvalidFileError(
      `checkpoint ${target} could not be written (${(cause as Error).message}); earlier checkpoints are untouched. Is the disk full?${advice}`,
      { cause },
    )
  }
  return target
}

/** Bytes that one checkpoint takes, without the tokenizer. */
export function checkpointBytes(model: DecoderModel, { state }: Pick<Optimizer, 'state'>): number {
  const sixteenBit = model.dtype === 'bf16' || model.dtype === 'f16'
  const stateElements = [...state.values()].reduce((total, { shape }) => total + elementCount(shape), 0)
  return model.parameterCount * (sixteenBit ? 2 : 4) + stateElements * 4
}

async function writeFiles(folder: string, { model, optimizer, record, tokenizerFrom, maxShardBytes }: CheckpointContent): Promise<void> {
  const files = new HashedFiles()
  await saveModel(model, folder, { tokenizerFrom, maxShardBytes, writeFile: files.write })
  const { state } = optimizer
  const described = new Map<string, SafetensorsDescription>()
  for (const [name, { shape }] of state) described.set(name, { type: 'F32', shape })
  for (const [file, shard] of planShards(described, maxShardBytes, OPTIMIZER_STEM)) {
    await files.write(
      join(folder, file),
      streamSafetensors(shard, (name) => model.backend.memory.download(state.get(name)!)),
    )
  }
  await files.writeJson(join(folder, RECORD_FILE), record)
  await files.writeManifest(folder)
  await syncToDisk(folder)
}
