import { InvalidFileError } from '../errors/invalid-file-error.js'
import { inWords, shortened } from '../in-words.js'
import { duplicateKey } from './duplicate-key.js'
import { decodeBfloat16, decodeFloat16, type SafetensorsData, type SafetensorsType, safetensorsBytes } from './element-types.js'

/** One tensor of a file: its place is checked, its bytes are read on demand. */
export interface SafetensorsEntry {
  readonly type: SafetensorsType
  readonly shape: readonly number[]
  /** Bytes from the start of the file. */
  readonly begin: number
  readonly end: number
}

/** The header of a safetensors file. */
export interface SafetensorsHeader {
  readonly metadata: Readonly<Record<string, string>>
  readonly entries: ReadonlyMap<string, SafetensorsEntry>
  /** Bytes of length prefix and header. */
  readonly headerBytes: number
}

/** A whole file in memory. */
export interface SafetensorsFile extends SafetensorsHeader {
  /** Elements of a tensor: integers as Int32Array, U8 and BOOL as Uint8Array, F64 as Float64Array, the rest as Float32Array; a copy. */
  read(name: string): SafetensorsData
}

/** Largest header the format allows; a larger length prefix is a damaged file, and is never allocated. */
const MAX_HEADER_BYTES = 100 * 1024 * 1024

/**
 * Length of the JSON header from the first eight bytes of a file.
 * @throws InvalidFileError when the length cannot be that of a header in a file of `fileBytes`
 */
export function headerLength(prefix: Uint8Array, fileBytes: number, label = 'safetensors file'): number {
  if (prefix.length < 8 || fileBytes < 8)
    throw new InvalidFileError(`${label}: it has ${fileBytes} bytes; a safetensors file has at least 8.`)
  const length = Number(new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true))
  if (length > MAX_HEADER_BYTES || length + 8 > fileBytes) {
    throw new InvalidFileError(
      `${label}: the header claims ${length} bytes but the file has ${fileBytes}; it is truncated or no safetensors file.`,
    )
  }
  return length
}

/**
 * Checks a header: types known, shapes sane, byte ranges that match them, inside the file, in whole and without overlap.
 * @param json the header's bytes, without the length prefix
 * @throws InvalidFileError naming the tensor
 */
export function parseSafetensorsHeader(json: Uint8Array, fileBytes: number, label = 'safetensors file'): SafetensorsHeader {
  const headerBytes = json.length + 8
  const header = parseJsonObject(json, label)
  let metadata: Record<string, string> = {}
  const entries = new Map<string, SafetensorsEntry>()
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') {
      if (!isRecord(value) || !Object.values(value).every((text) => typeof text === 'string')) {
        throw new InvalidFileError(`${label}: __metadata__ must map strings to strings.`)
      }
      metadata = value as Record<string, string>
    } else entries.set(name, parseEntry(name, value, headerBytes, fileBytes, label))
  }
  assertContiguous(entries, headerBytes, fileBytes, label)
  return { metadata, entries, headerBytes }
}

/** Reads a whole file from memory. @param label what to call the file in errors, its path for instance */
export function parseSafetensors(bytes: Uint8Array, label = 'safetensors file'): SafetensorsFile {
  const length = headerLength(bytes.subarray(0, 8), bytes.length, label)
  const header = parseSafetensorsHeader(bytes.subarray(8, 8 + length), bytes.length, label)
  return {
    ...header,
    read(name) {
      const entry = header.entries.get(name)
      if (!entry) throw new InvalidFileError(`${label}: there is no tensor ${name}; it has ${inWords([...header.entries.keys()])}.`)
      // Not slice: on Node's Buffer that is a view, which may start at an address that the type does not allow.
      return decodeElements(entry.type, new Uint8Array(bytes.subarray(entry.begin, entry.end)), `${label}: ${name}`)
    },
  }
}

/** Elements of a tensor from its bytes, which must be the start of their buffer or aligned to the type. */
export function decodeElements(type: SafetensorsType, bytes: Uint8Array, label: string): SafetensorsData {
  const { buffer, byteOffset, byteLength } = bytes
  switch (type) {
    case 'F64':
      return new Float64Array(buffer, byteOffset, byteLength / 8)
    case 'F32':
      return new Float32Array(buffer, byteOffset, byteLength / 4)
    case 'F16':
      return decodeFloat16(new Uint16Array(buffer, byteOffset, byteLength / 2))
    case 'BF16':
      return decodeBfloat16(new Uint16Array(buffer, byteOffset, byteLength / 2))
    case 'I32':
      return new Int32Array(buffer, byteOffset, byteLength / 4)
    case 'I64':
      return Int32Array.from(new BigInt64Array(buffer, byteOffset, byteLength / 8), (value) => {
        if (value !== BigInt.asIntN(32, value)) throw new InvalidFileError(`${label} holds ${value}, which does not fit in 32 bits.`)
        return Number(value)
      })
    case 'U8':
    case 'BOOL':
      return bytes
  }
}

function parseJsonObject(json: Uint8Array, label: string): Record<string, unknown> {
  let text: string
  let value: unknown
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(json)
    value = JSON.parse(text)
  } catch (cause) {
    throw new InvalidFileError(`${label}: the header is not JSON; the file is damaged or no safetensors file.`, { cause })
  }
  if (!isRecord(value)) throw new InvalidFileError(`${label}: the header must be a JSON object.`)
  const duplicate = duplicateKey(text)
  if (duplicate !== undefined)
    throw new InvalidFileError(`${label}: the header has ${inWords(duplicate)} twice; which one counts is not defined.`)
  return value
}

function parseEntry(name: string, value: unknown, headerBytes: number, fileBytes: number, label: string): SafetensorsEntry {
  const fault = (what: string) => new InvalidFileError(`${label}: tensor ${shortened(name)} ${what}.`)
  if (!isRecord(value)) throw fault('is not described by an object')
  const { dtype, shape, data_offsets: offsets } = value
  if (typeof dtype !== 'string' || !Object.hasOwn(safetensorsBytes, dtype)) {
    throw fault(
      `has element type ${typeof dtype === 'string' ? shortened(dtype) : inWords(dtype)}; known are ${Object.keys(safetensorsBytes).join(', ')}`,
    )
  }
  const type = dtype as SafetensorsType
  if (!Array.isArray(shape) || !shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0)) {
    throw fault(`has shape ${inWords(shape)}; a list of non-negative integers is needed`)
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every((offset) => Number.isSafeInteger(offset) && offset >= 0)) {
    throw fault(`has data_offsets ${inWords(offsets)}; a pair of byte offsets is needed`)
  }
  const [begin, end] = [headerBytes + offsets[0], headerBytes + offsets[1]]
  const needed = shape.reduce((product, extent) => product * extent, safetensorsBytes[type])
  if (end - begin !== needed) throw fault(`spans ${end - begin} bytes but ${dtype} ${inWords(shape)} takes ${needed}`)
  if (end > fileBytes) throw fault(`ends at byte ${end} of a file of ${fileBytes}; the file is truncated`)
  return { type, shape, begin, end }
}

function assertContiguous(entries: ReadonlyMap<string, SafetensorsEntry>, headerBytes: number, fileBytes: number, label: string): void {
  let previousEnd = headerBytes
  for (const [name, { begin, end }] of [...entries].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== previousEnd) {
      const fault = begin < previousEnd ? 'overlaps the tensor before it' : 'leaves a gap after the tensor before it'
      throw new InvalidFileError(`${label}: tensor ${shortened(name)} ${fault} (starts at byte ${begin}, expected ${previousEnd}).`)
    }
    previousEnd = end
  }
  if (previousEnd !== fileBytes) {
    throw new InvalidFileError(
      `${label}: its tensors end at byte ${previousEnd} but the file has ${fileBytes}; it is truncated or has trailing data.`,
    )
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
