import { elementCount } from '../contract/tensor.js'
import { ShapeError } from '../errors/shape-error.js'
import { encodeBfloat16, encodeFloat16, type SafetensorsData, type SafetensorsType, safetensorsBytes } from './element-types.js'

/** Element types that are written. */
export type WritableSafetensorsType = Exclude<SafetensorsType, 'I64' | 'BOOL'>

/** What a header says of a tensor: known before any of its elements are. */
export interface SafetensorsDescription {
  readonly type: WritableSafetensorsType
  readonly shape: readonly number[]
}

/** A tensor to write. Float32Array is written as F32, or in 16 bits where `type` asks for it. */
export interface SafetensorsTensor {
  readonly shape: readonly number[]
  readonly data: SafetensorsData
  readonly type?: 'BF16' | 'F16'
}

/** Elements that are encoded at once, so that a large tensor is not held in two types. */
const ENCODED_ELEMENTS = 2 ** 22

/** Bytes that a tensor takes in a file. */
export function safetensorsSize({ type, shape }: SafetensorsDescription): number {
  return elementCount(shape) * safetensorsBytes[type]
}

/** Length prefix and header of a file that holds these tensors, one after the other. */
export function safetensorsHeader(
  tensors: ReadonlyMap<string, SafetensorsDescription>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const entries: [string, unknown][] = Object.keys(metadata).length > 0 ? [['__metadata__', metadata]] : []
  let offset = 0
  for (const [name, tensor] of tensors) {
    const end = offset + safetensorsSize(tensor)
    entries.push([name, { dtype: tensor.type, shape: tensor.shape, data_offsets: [offset, end] }])
    offset = end
  }
  // Not by assignment, to which the name __proto__ means something else.
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)))
  // Padding with spaces aligns the data to 8 bytes, as readers that map the file expect.
  const padded = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20)
  padded.set(json, 8)
  new DataView(padded.buffer).setBigUint64(0, BigInt(padded.length - 8), true)
  return padded
}

/** A tensor's bytes in pieces; each is a view where the elements have the type already, so write it before they change. */
export function* encodeElements(type: WritableSafetensorsType, data: SafetensorsData): Generator<Uint8Array> {
  for (let start = 0; start < data.length; start += ENCODED_ELEMENTS) {
    const { buffer, byteOffset, byteLength } = encoded(type, data.subarray(start, start + ENCODED_ELEMENTS))
    yield new Uint8Array(buffer, byteOffset, byteLength)
  }
}

/**
 * A file's bytes in pieces, to be written one after the other: the header from the shapes alone, then one tensor at a time, each asked for when the one
 * before it was written.
 * @param read gives the elements of a tensor
 * @throws ShapeError when `read` gives another number of elements than its shape has
 */
export async function* streamSafetensors(
  tensors: ReadonlyMap<string, SafetensorsDescription>,
  read: (name: string) => Promise<SafetensorsData>,
  metadata: Readonly<Record<string, string>> = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  yield safetensorsHeader(tensors, metadata)
  for (const [name, { type, shape }] of tensors) {
    const data = await read(name)
    requireCount(name, shape, data)
    yield* encodeElements(type, data)
  }
}

/** The same of tensors that are on the host. */
export function* serializeSafetensorsParts(
  tensors: ReadonlyMap<string, SafetensorsTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Generator<Uint8Array> {
  const described = new Map([...tensors].map(([name, tensor]) => [name, { type: typeOf(tensor), shape: tensor.shape }]))
  for (const [name, { shape, data }] of tensors) requireCount(name, shape, data)
  yield safetensorsHeader(described, metadata)
  for (const tensor of tensors.values()) yield* encodeElements(typeOf(tensor), tensor.data)
}

/** A whole file in memory, for small ones. */
export function serializeSafetensors(
  tensors: ReadonlyMap<string, SafetensorsTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const parts = [...serializeSafetensorsParts(tensors, metadata)]
  const file = new Uint8Array(parts.reduce((total, part) => total + part.length, 0))
  let offset = 0
  for (const part of parts) {
    file.set(part, offset)
    offset += part.length
  }
  return file
}

function requireCount(name: string, shape: readonly number[], data: SafetensorsData): void {
  const count = elementCount(shape)
  if (count !== data.length) throw new ShapeError(`${name} has ${data.length} elements but its shape [${shape}] takes ${count}.`)
}

function typeOf({ data, type }: SafetensorsTensor): WritableSafetensorsType {
  if (type) return type
  if (data instanceof Float32Array) return 'F32'
  if (data instanceof Float64Array) return 'F64'
  return data instanceof Int32Array ? 'I32' : 'U8'
}

function encoded(type: WritableSafetensorsType, data: SafetensorsData): SafetensorsData | Uint16Array {
  switch (type) {
    case 'F64':
      return data instanceof Float64Array ? data : Float64Array.from(data)
    case 'F32':
      return singles(data)
    case 'F16':
      return encodeFloat16(singles(data))
    case 'BF16':
      return encodeBfloat16(singles(data))
    case 'I32':
      return data instanceof Int32Array ? data : Int32Array.from(data)
    case 'U8':
      return data instanceof Uint8Array ? data : Uint8Array.from(data)
  }
}

function singles(data: SafetensorsData): Float32Array {
  return data instanceof Float32Array ? data : Float32Array.from(data)
}
