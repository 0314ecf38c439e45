import {
  type DType,
  densePolicy,
  InvalidFileError,
  MAX_TOP_K,
  type ModelBackend,
  parseSafetensors,
  phsaConfig,
  phsaPolicy,
  type SafetensorsFile,
  type Tensor,
} from '@phsa/core'
import type { AttentionChoice } from './attention-choice.js'
import type { DecoderModel } from './decoder-model.js'
import { folderFiles } from './folder-files.js'
import { generate } from './generate.js'
import { loadModel } from './load-model.js'
import type { ModelFiles } from './model-files.js'
import { nextTokenBatch } from './token-batch.js'

/** One compared quantity. */
export interface ModelFinding {
  /** Path and quantity, for instance `dense: grad.model.norm.weight`. */
  readonly name: string
  /** Relative Frobenius error; for `generated` the number of ids that differ. */
  readonly error: number
  readonly bound: number
  readonly ok: boolean
}

/** What the other implementation computed, and what to call its file in errors. */
type ExpectedResults = SafetensorsFile & { readonly label: string }

/** Bound of spec 11 for models in f32; in 16 bits it is as many times that of one operation. */
const MODEL_BOUND = 1e-4
const HALF_MODEL_BOUND = 5e-2
const FILE = 'reference.safetensors'

/**
 * Compares a model on a backend with what another implementation computed (spec 11): logits, loss, every gradient and the greedy continuation, through
 * dense attention and through PHSA at full budget (A >= L), which must give the same.
 * @param source a model folder with reference.safetensors: input_ids [B, L], logits [B, L, V], loss [1] (mean over the B (L - 1) predicted tokens),
 *   `grad.NAME` of every parameter, generated [1, n] (a prompt, the first half of it, from row 0, and its greedy continuation)
 * @param dtype element type on the backend, default f32; 16 bits have wider bounds
 * @throws InvalidFileError when the folder is no such fixture; UnsupportedError for a type that the backend does not have
 */
export async function verifyModelFixture(
  source: string | ModelFiles,
  backend: ModelBackend,
  dtype: DType = 'f32',
): Promise<ModelFinding[]> {
  const files = typeof source === 'string' ? await folderFiles(source) : source
  try {
    const size = await files.size(FILE)
    if (size === undefined) throw new InvalidFileError(`${files.label}: there is no ${FILE} to compare with; give a fixture folder.`)
    const label = `${files.label}/${FILE}`
    const expected = { ...parseSafetensors(await files.read(FILE, 0, size), label), label }
    const { model } = await loadModel(files, { backend, dtype })
    try {
      const length = expected.entries.get('input_ids')?.shape[1] ?? 0
      const findings: ModelFinding[] = []
      for (const [path, attention] of [
        ['dense', { policy: densePolicy, phsa: model.phsa }],
        ['phsa', fullBudget(length)],
      ] as const) {
        findings.push(...(await compareStep(model, expected, path, attention)), await compareGeneration(model, expected, path, attention))
      }
      return findings
    } finally {
      model.dispose()
    }
  } finally {
    if (typeof source === 'string') await files.close()
  }
}

/** PHSA that selects every block that it does not force, so that nothing is left out at this length. */
function fullBudget(length: number): AttentionChoice {
  const blockSize = 16
  const blocks = Math.ceil(length / blockSize)
  const topK = Math.min(blocks, MAX_TOP_K)
  const localTokens = Math.max(1, blocks - topK) * blockSize
  return { policy: phsaPolicy, phsa: phsaConfig({ blockSize, initTokens: 0, localTokens, topK }) }
}

async function compareStep(
  model: DecoderModel,
  expected: ExpectedResults,
  path: string,
  attention: AttentionChoice,
): Promise<ModelFinding[]> {
  const { memory } = model.backend
  const batch = nextTokenBatch(idRows(expected, 'input_ids', model.config.vocabSize))
  const gradients = model.allocGradients()
  const made: Tensor[] = [...gradients.values()]
  try {
    const logits = model.logits(batch, attention)
    const { loss, tokenLosses } = model.lossAndGradients(batch, attention, gradients)
    made.push(logits, loss, tokenLosses)
    const bound = model.dtype === 'bf16' || model.dtype === 'f16' ? HALF_MODEL_BOUND : MODEL_BOUND
    const compare = async (name: string, actual: Tensor): Promise<ModelFinding> => {
      const error = relativeError(await memory.download(actual), expected.read(name))
      return { name: `${path}: ${name}`, error, bound, ok: error <= bound }
    }
    const findings = [await compare('logits', logits), await compare('loss', loss)]
    for (const [name, gradient] of gradients) findings.push(await compare(`grad.${name}`, gradient))
    return findings
  } finally {
    for (const tensor of made) tensor.dispose()
  }
}

async function compareGeneration(
  model: DecoderModel,
  expected: ExpectedResults,
  path: string,
  attention: AttentionChoice,
): Promise<ModelFinding> {
  const [wanted] = idRows(expected, 'generated', model.config.vocabSize)
  const promptLength = Math.floor(wanted.length / 2)
  const made: number[] = []
  // The chunks are no multiple of the block size on purpose.
  const options = { maxNewTokens: wanted.length - promptLength, attention, prefillChunk: 13, stopTokenIds: [] }
  for await (const id of generate(model, wanted.slice(0, promptLength), options)) made.push(id)
  const differing = wanted.slice(promptLength).filter((id, index) => id !== made[index]).length
  return { name: `${path}: generated`, error: differing, bound: 0, ok: differing === 0 }
}

/** Rows of a tensor of token ids [B, L], checked here so that a damaged file is named. */
function idRows(file: ExpectedResults, name: string, vocabSize: number): Int32Array[] {
  const ids = file.read(name)
  const { shape } = file.entries.get(name)!
  const [rows, length] = shape
  if (shape.length !== 2 || rows < 1 || length < 2) {
    throw new InvalidFileError(`${file.label}: ${name} is [${shape.join(', ')}]; at least one row of two ids or more is needed.`)
  }
  const wrong = ids.findIndex((id) => !(Number.isInteger(id) && id >= 0 && id < vocabSize))
  if (wrong >= 0) {
    const place = `${name}[${Math.floor(wrong / length)}, ${wrong % length}]`
    throw new InvalidFileError(
      `${file.label}: ${place} is ${ids[wrong]}; ids of this model are 0 to ${vocabSize - 1}. Write the fixture again: the file is damaged or belongs to another model.`,
    )
  }
  return Array.from({ length: rows }, (_, row) => Int32Array.from(ids.subarray(row * length, (row + 1) * length)))
}

/** Relative Frobenius error; infinite for another length or anything that is not finite. */
function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY
  let difference = 0
  let norm = 0
  for (let index = 0; index < expected.length; index++) {
    difference += (actual[index] - expected[index]) ** 2
    norm += expected[index] ** 2
  }
  const error = Math.sqrt(difference / norm)
  return Number.isFinite(error) ? error : Number.POSITIVE_INFINITY
}
