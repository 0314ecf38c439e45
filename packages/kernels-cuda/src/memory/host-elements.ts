import { bytesPerElement, type DType, type HostArray, UnsupportedError } from '@phsa/core'

/** Element types that tensors of this backend have. */
export type HeldDType = 'f32' | 'bf16' | 'i32'

/** @throws UnsupportedError for a type that this backend does not hold */
export function checkHeld(dtype: DType): asserts dtype is HeldDType {
  if (dtype === 'f32' || dtype === 'bf16' || dtype === 'i32') return
  throw new UnsupportedError('dtype', `dtype is ${dtype}; cuda holds f32, bf16 and i32. Convert to bf16 or f32, or use another backend.`)
}

/** The type of a tensor where none is named. */
export function defaultDType(data: HostArray): DType {
  if (data instanceof Int32Array) return 'i32'
  return data instanceof Float64Array ? 'f64' : 'f32'
}

/** Writes elements `start` to `end` of an array as the device holds them; bf16 is rounded to nearest, ties to even. */
export function encodeElements(data: HostArray, dtype: HeldDType, start: number, end: number, target: ArrayBuffer, offset: number): void {
  const source = data.subarray(start, end)
  if (dtype === 'bf16') roundToBits(source as Float32Array, new Uint16Array(target, offset, end - start))
  else new Uint8Array(target, offset).set(new Uint8Array(source.buffer, source.byteOffset, source.byteLength))
}

/** A new host array of elements as the device holds them. */
export function decodeElements(source: ArrayBuffer, dtype: HeldDType, length: number): HostArray {
  if (dtype === 'bf16') return fromBits(new Uint16Array(source, 0, length))
  const copy = source.slice(0, length * bytesPerElement[dtype])
  return dtype === 'i32' ? new Int32Array(copy) : new Float32Array(copy)
}

/** bf16 is the upper half of f32: adding just under half of the lower half, and one more where the result is odd, rounds ties to even. */
function roundToBits(values: Float32Array, bits: Uint16Array): void {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length)
  for (let index = 0; index < words.length; index++) {
    const word = words[index]
    const noNumber = (word & 0x7fffffff) > 0x7f800000
    // Rounding could carry a NaN to infinity; its highest fraction bit keeps it one.
    bits[index] = noNumber ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16
  }
}

function fromBits(bits: Uint16Array): Float32Array {
  const values = new Float32Array(bits.length)
  const words = new Uint32Array(values.buffer)
  for (let index = 0; index < bits.length; index++) words[index] = bits[index] << 16
  return values
}
