import { elementCount } from '../contract/tensor.js'
import { ShapeError } from '../errors/shape-error.js'
import { encodeBfloat16, type SafetensorsType, safetensorsBytes } from './element-types.js'

/** A tensor to write. Float32Array is written as F32, or as BF16 where `type` asks for it. */
export interface SafetensorsTensor {
  readonly shape: readonly number[]
  readonly data: Float32Array | Float64Array | Int32Array | Uint8Array
  readonly type?: 'BF16'
}

/** A file's bytes in pieces, to be written one after the other: a large model is never twice in memory. */
export function* serializeSafetensorsParts(
  tensors: ReadonlyMap<string, SafetensorsTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Generator<Uint8Array> {
  const header: Record<string, unknown> = {}
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata
  let offset = 0
  for (const [name, tensor] of tensors) {
    const type = typeOf(tensor)
    const count = elementCount(tensor.shape)
    if (count !== tensor.data.length) {
      throw new ShapeError(`${name} has ${tensor.data.length} elements but its shape [${tensor.shape}] takes ${count}.`)
    }
    const end = offset + count * safetensorsBytes[type]
    header[name] = { dtype: type, shape: tensor.shape, data_offsets: [offset, end] }
    offset = end
  }
  const json = new TextEncoder().encode(JSON.stringify(header))
  // Padding with spaces aligns the data to 8 bytes, as readers that map the file expect.
  const padded = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20)
  padded.set(json, 8)
  new DataView(padded.buffer).setBigUint64(0, BigInt(padded.length - 8), true)
  yield padded
  for (const tensor of tensors.values()) yield encode(tensor)
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

function typeOf({ data, type }: SafetensorsTensor): SafetensorsType {
  if (type) return type
  if (data instanceof Float32Array) return 'F32'
  if (data instanceof Float64Array) return 'F64'
  return data instanceof Int32Array ? 'I32' : 'U8'
}

function encode({ data, type }: SafetensorsTensor): Uint8Array {
  const stored = type === 'BF16' ? encodeBfloat16(data as Float32Array) : data
  return new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength)
}
