import type { AttentionSpec, ScoreKind } from '../contract/attention-spec.js'
import { InvalidFileError } from '../errors/invalid-file-error.js'
import { isPhsaError } from '../errors/phsa-error.js'
import { PackedLayout } from '../packed-layout.js'
import { attentionSpec, phsaConfig } from '../phsa-config.js'
import { parseSafetensors, type SafetensorsFile } from '../safetensors/parse-safetensors.js'

const FLOAT_TENSORS = ['q', 'k', 'v', 'do', 'reps', 'out', 'lse', 'dq', 'dk', 'dv'] as const
type FloatTensor = (typeof FLOAT_TENSORS)[number]

/** An attention fixture in memory, every shape checked (fixtures/README.md). */
export interface AttentionFixture {
  readonly spec: AttentionSpec
  readonly layout: PackedLayout
  /** One value, or one a KV head. */
  readonly lambda: Float32Array
  /** One byte a token [T]. */
  readonly punctuation: Uint8Array
  readonly tensors: Readonly<Record<FloatTensor, Float32Array>>
  /** [Hkv, T, topK] */
  readonly selected: Int32Array
  readonly distillation?: {
    /** Rows of the first sequence. */
    readonly positions: Int32Array
    readonly loss: Float32Array
    readonly dq: Float32Array
    readonly dk: Float32Array
    /** [1] for a scalar lambda, else [Hkv] */
    readonly dlambda: Float32Array
  }
}

/**
 * Reads a fixture.
 * @throws InvalidFileError naming the tensor or setting that is missing or does not fit
 */
export function readAttentionFixture(source: Uint8Array | SafetensorsFile): AttentionFixture {
  const file = source instanceof Uint8Array ? parseSafetensors(source, 'attention fixture') : source
  const spec = readSpec(file)
  const lengths = readIntegers(file, 'seqlens', [-1])
  const layout = readLayout(lengths, spec.blockSize)
  const T = layout.totalTokens
  const queries = [T, spec.heads, spec.headDim]
  const keys = [T, spec.kvHeads, spec.headDim]
  const shapes: Record<FloatTensor, readonly number[]> = {
    q: queries,
    k: keys,
    v: keys,
    do: queries,
    reps: [spec.kvHeads, layout.totalBlocks * spec.representatives, spec.headDim],
    out: queries,
    lse: [T, spec.heads],
    dq: queries,
    dk: keys,
    dv: keys,
  }
  const tensors = Object.fromEntries(FLOAT_TENSORS.map((name) => [name, readFloats(file, name, shapes[name])]))
  return {
    spec,
    layout,
    lambda: readLambda(file, spec.kvHeads),
    punctuation: readBytes(file, 'punct', [T]),
    tensors: tensors as Record<FloatTensor, Float32Array>,
    selected: readIntegers(file, 'selected', [spec.kvHeads, T, spec.topK]),
    ...(file.entries.has('distil.positions') ? { distillation: readDistillation(file, spec, layout, keys, queries) } : {}),
  }
}

function readDistillation(
  file: SafetensorsFile,
  spec: AttentionSpec,
  layout: PackedLayout,
  keys: readonly number[],
  queries: readonly number[],
): NonNullable<AttentionFixture['distillation']> {
  const positions = readIntegers(file, 'distil.positions', [-1])
  const outside = positions.find((position) => position < 0 || position >= layout.keyLengths[0])
  if (outside !== undefined)
    throw new InvalidFileError(`distil.positions holds ${outside}; the first sequence has ${layout.keyLengths[0]} tokens.`)
  return {
    positions,
    loss: readFloats(file, 'distil.loss', [1]),
    dq: readFloats(file, 'distil.dq', queries),
    dk: readFloats(file, 'distil.dk', keys),
    dlambda: readFloats(file, 'distil.dlambda', [file.metadata.lambda === 'per-head' ? spec.kvHeads : 1]),
  }
}

function readSpec(file: SafetensorsFile): AttentionSpec {
  const whole = (name: string) => readNumber(file, name)
  const settings = {
    blockSize: whole('blockSize'),
    initTokens: whole('initTokens'),
    localTokens: whole('localTokens'),
    topK: whole('topK'),
    representatives: whole('representatives'),
    // phsaConfig refuses what is no score.
    score: readSetting(file, 'score') as ScoreKind,
    denseBelow: 0,
  }
  const heads = { heads: whole('numHeads'), kvHeads: whole('numKvHeads'), headDim: whole('headDim'), dtype: 'f32' } as const
  return asFileError('its parameters', () => attentionSpec(phsaConfig(settings), heads))
}

function readLayout(lengths: Int32Array, blockSize: number): PackedLayout {
  return asFileError('seqlens', () => new PackedLayout([...lengths], blockSize))
}

function readLambda(file: SafetensorsFile, kvHeads: number): Float32Array {
  const values =
    readSetting(file, 'lambda') === 'per-head' ? readFloats(file, 'lambda', [kvHeads]) : Float32Array.of(readNumber(file, 'lambda'))
  const wrong = values.find((value) => !(value >= 0 && value <= 1))
  if (wrong !== undefined) throw new InvalidFileError(`the fixture has lambda ${wrong}; it must lie between 0 and 1.`)
  return values
}

function readSetting(file: SafetensorsFile, name: string): string {
  const text = file.metadata[name]
  if (text === undefined) {
    throw new InvalidFileError(`the fixture's __metadata__ has no ${name}; it has ${Object.keys(file.metadata).join(', ') || 'nothing'}.`)
  }
  return text
}

function readNumber(file: SafetensorsFile, name: string): number {
  const text = readSetting(file, name)
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value))
    throw new InvalidFileError(`the fixture's ${name} is ${JSON.stringify(text)}; a number is needed.`)
  return value
}

function read(file: SafetensorsFile, name: string, shape: readonly number[]) {
  const entry = file.entries.get(name)
  if (!entry) throw new InvalidFileError(`the fixture has no tensor ${name}; see fixtures/README.md for those that it needs.`)
  const fits = entry.shape.length === shape.length && shape.every((extent, axis) => extent === -1 || extent === entry.shape[axis])
  if (!fits) {
    const wanted = shape.map((extent) => (extent === -1 ? 'any' : extent))
    throw new InvalidFileError(`the fixture's ${name} has shape [${entry.shape}]; its parameters and seqlens make it [${wanted}].`)
  }
  return file.read(name)
}

function readFloats(file: SafetensorsFile, name: string, shape: readonly number[]): Float32Array {
  const values = read(file, name, shape)
  if (values instanceof Float64Array) return Float32Array.from(values)
  if (!(values instanceof Float32Array)) throw wrongType(file, name, 'a float type')
  return values
}

function readIntegers(file: SafetensorsFile, name: string, shape: readonly number[]): Int32Array {
  const values = read(file, name, shape)
  if (!(values instanceof Int32Array)) throw wrongType(file, name, 'I32 or I64')
  return values
}

function readBytes(file: SafetensorsFile, name: string, shape: readonly number[]): Uint8Array {
  const values = read(file, name, shape)
  if (!(values instanceof Uint8Array)) throw wrongType(file, name, 'U8')
  return values
}

function wrongType(file: SafetensorsFile, name: string, allowed: string): InvalidFileError {
  return new InvalidFileError(`the fixture's ${name} is ${file.entries.get(name)?.type}; it must be ${allowed}.`)
}

/** Values that the file holds are the file's fault, whatever reads them. */
function asFileError<T>(what: string, make: () => T): T {
  try {
    return make()
  } catch (cause) {
    if (!isPhsaError(cause)) throw cause
    throw new InvalidFileError(`the fixture cannot be read for ${what}: ${cause.message}`, { cause })
  }
}
