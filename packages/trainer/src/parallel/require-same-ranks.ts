import { BackendLostError, InvalidConfigError, type Memory, type Tensor } from '@phsa/core'
import type { DecoderModel } from '@phsa/model'
import type { TrainingRecord } from '../training-record.js'
import type { RankGroup } from './rank-group.js'

/** Bytes that are hashed at a time; hashing takes a copy of them. */
const PIECE = 2 ** 26

/**
 * Makes sure, before the first step, that all ranks are about to do the same: data, settings, step and parameters. Waits for all ranks.
 * @param record where this rank starts and with what
 * @throws InvalidConfigError on every rank, naming the first rank that differs from rank 0 and in what
 */
export async function requireSameStart(group: RankGroup, model: DecoderModel, record: TrainingRecord): Promise<void> {
  if (group.isAlone) return
  const { step, fingerprint } = record
  const parameters = await digestTensors(model.backend.memory, model.parameters.values())
  const told = await group.gather([step, await digestText(fingerprint), await digestText(JSON.stringify(record)), parameters])
  const questions = [
    ['resume', 'starts at another step', 'give all ranks the same checkpoint folder, on a disk that all of them see'],
    ['data', 'has other data', 'give all ranks the same data'],
    ['settings', 'has other settings', 'start all ranks with the same command and configuration'],
    ['model', 'has other parameters', 'give all ranks the same model folder, or the same seed'],
  ] as const
  for (const [place, [setting, difference, advice]] of questions.entries()) {
    const other = told.findIndex((values) => values[place] !== told[0][place])
    if (other < 0) continue
    const steps = setting === 'resume' ? ` (${told[other][place]}, not ${told[0][place]})` : ''
    throw new InvalidConfigError(setting, `rank ${other} of ${group.size} ${difference} than rank 0${steps}; ${advice}.`)
  }
}

/**
 * Makes sure that all ranks still have the same parameters, bit for bit. Waits for all ranks.
 * @throws BackendLostError on every rank
 */
export async function requireSameParameters(group: RankGroup, model: DecoderModel, step: number): Promise<void> {
  if (group.isAlone) return
  const told = await group.gather([await digestTensors(model.backend.memory, model.parameters.values())])
  const other = told.findIndex(([digest]) => digest !== told[0][0])
  if (other < 0) return
  throw new BackendLostError(
    `after step ${step} the parameters of rank ${other} of ${group.size} are not those of rank 0, which must not happen: a GPU or its connection computes wrongly. No checkpoint of this step was written; check the GPUs, and resume from the one before.`,
  )
}

/** 48 bits of a SHA-256 over those of the tensors' pieces, as an integer. */
export async function digestTensors(memory: Memory, tensors: Iterable<Tensor>): Promise<number> {
  const pieces: Uint8Array[] = []
  for (const tensor of tensors) {
    const { buffer, byteOffset, byteLength } = await memory.download(tensor)
    for (let start = 0; start < byteLength; start += PIECE) {
      pieces.push(await sha256(new Uint8Array(buffer as ArrayBuffer, byteOffset + start, Math.min(PIECE, byteLength - start))))
    }
  }
  const joined = new Uint8Array(pieces.length * 32)
  for (const [place, piece] of pieces.entries()) joined.set(piece, place * 32)
  return firstBits(await sha256(joined))
}

async function digestText(text: string): Promise<number> {
  return firstBits(await sha256(new TextEncoder().encode(text)))
}

/** By the platform, in Node on a thread of its own: nothing of Node is named, so that any bundler takes this file for pages. */
async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
}

/** The first 48 bits, which a number holds exactly. */
function firstBits(digest: Uint8Array): number {
  return digest.subarray(0, 6).reduce((bits, byte) => bits * 256 + byte, 0)
}
