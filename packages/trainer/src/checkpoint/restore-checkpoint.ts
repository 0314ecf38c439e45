import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { InvalidFileError, type Tensor } from '@phsa/core'
import { type DecoderConfig, type DecoderModel, parseDecoderConfig } from '@phsa/model'
import type { Optimizer } from '../optimizer.js'
import type { WholeCheckpoint } from './resume-checkpoint.js'
import { readSafetensors } from './safetensors-disk.js'
import { type StoredTensors, storedTensors } from './stored-tensors.js'
import { OPTIMIZER_STEM } from './write-checkpoint.js'

const CONFIG_FILE = 'config.json'

/** Ends the name of an f32 copy, and of an average of the weights; see `Optimizer.state`. */
const MASTER = '.master'
const AVERAGE = '.average'

/** Element types that parameters and optimizer state are written in. */
const FLOAT_TYPES: ReadonlySet<string> = new Set(['F32', 'F16', 'BF16', 'F64'])

/**
 * Puts a checkpoint's parameters and optimizer state in place of the present ones.
 * All files are checked before the first tensor is written.
 * @throws InvalidFileError when it belongs to another model; model and optimizer are then as they were
 */
export async function restoreCheckpoint({ path, manifest }: WholeCheckpoint, model: DecoderModel, optimizer: Optimizer): Promise<void> {
  await requireSameModel(path, model)
  const weights = await storedTensors(path, manifest, 'model')
  const state = await storedTensors(path, manifest, OPTIMIZER_STEM)
  const targets = optimizerTargets(model, optimizer)
  requireTensors(weights, model.parameters)
  requireTensors(state, targets)
  await writeAll(model, weights, model.parameters)
  // First from the parameters, for a checkpoint that was written with another element type; its own copies, where it has them, follow.
  optimizer.syncMasters()
  await writeAll(model, state, targets)
  // A run that had no average so far begins one here.
  if (!hasAny(state, AVERAGE)) optimizer.average?.restart()
}

function hasAny({ places }: StoredTensors, ending: string): boolean {
  return [...places.keys()].some((name) => name.endsWith(ending))
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

/**
 * Where each tensor of the optimizer's files goes: its state, and a 16-bit run's f32 copy into the parameter itself where the model has no
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
 * Checks names, shapes and element types by the files' headers, before anything is written.
 * @throws InvalidFileError naming the tensor
 */
function requireTensors(stored: StoredTensors, tensors: ReadonlyMap<string, Tensor>): void {
  const { label, places } = stored
  // A 16-bit run has an f32 copy of every parameter, any other run of none; a run with an average has all of it.
  const absent = [MASTER, AVERAGE].filter((ending) => !hasAny(stored, ending))
  for (const [name, { shape }] of tensors) {
    const place = places.get(name)
    if (!place) {
      if (absent.some((ending) => name.endsWith(ending))) continue
      throw new InvalidFileError(`${label} lacks ${name}; give another checkpoint, or resume with the model that was trained.`)
    }
    const { file, entry } = place
    if (entry.shape.length !== shape.length || entry.shape.some((extent, axis) => extent !== shape[axis])) {
      throw new InvalidFileError(
        `${file}: ${name} is [${entry.shape}], this model's is [${shape}]; give another checkpoint, or resume with the model that was trained.`,
      )
    }
    if (!FLOAT_TYPES.has(entry.type)) {
      throw new InvalidFileError(`${file}: ${name} is ${entry.type}; ${[...FLOAT_TYPES].join(', ')} are read. Give another checkpoint.`)
    }
  }
}

async function writeAll(model: DecoderModel, { files }: StoredTensors, tensors: ReadonlyMap<string, Tensor>): Promise<void> {
  for (const file of files) {
    for await (const [name, { data }] of readSafetensors(file)) {
      const tensor = tensors.get(name)
      if (!tensor) continue
      const wide = tensor.dtype === 'f64' ? Float64Array : Float32Array
      model.backend.memory.write(tensor, data instanceof wide ? data : wide.from(data))
    }
  }
}
