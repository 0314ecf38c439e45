import { type DType, decodeFloat16, encodeFloat16, type HostArray } from '@phsa/core'
import type { HeldDType } from './webgpu-tensor.js'

/** The type of a tensor where none is named. */
export function defaultDType(data: HostArray): DType {
  if (data instanceof Int32Array) return 'i32'
  return data instanceof Float64Array ? 'f64' : 'f32'
}

/** An array's elements as the device holds them, padded to a multiple of 4 bytes; f16 is rounded to nearest, ties to even. */
export function encodeElements(data: HostArray, dtype: HeldDType): Uint8Array<ArrayBuffer> {
  if (dtype !== 'f16') return new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength)
  const bits = new Uint16Array(Math.ceil(data.length / 2) * 2)
  bits.set(encodeFloat16(data as Float32Array))
  return new Uint8Array(bits.buffer)
}

/** A new host array of elements as the device holds them. */
export function decodeElements(source: ArrayBuffer, dtype: HeldDType, length: number): HostArray {
  if (dtype === 'i32') return new Int32Array(source.slice(0, length * 4))
  if (dtype === 'f32') return new Float32Array(source.slice(0, length * 4))
  return decodeFloat16(new Uint16Array(source, 0, length))
}
