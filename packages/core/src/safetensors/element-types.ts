/** Element types of the safetensors format that we read: bytes an element. Others are named in an error. */
export const safetensorsBytes = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, U8: 1, BOOL: 1 } as const

/** Name of an element type as a safetensors header has it. */
export type SafetensorsType = keyof typeof safetensorsBytes

/** Widens bf16 bits: they are the upper half of a float32. */
export function decodeBfloat16(bits: Uint16Array): Float32Array {
  const wide = new Uint32Array(bits.length)
  for (let index = 0; index < bits.length; index++) wide[index] = bits[index] << 16
  return new Float32Array(wide.buffer)
}

/** Rounds float32 to bf16 bits, to nearest even; NaN stays NaN. */
export function encodeBfloat16(values: Float32Array): Uint16Array {
  const wide = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const bits = new Uint16Array(values.length)
  for (let index = 0; index < values.length; index++) {
    const word = wide[index]
    const notANumber = (word & 0x7fffffff) > 0x7f800000
    bits[index] = notANumber ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16
  }
  return bits
}

/** Widens f16 bits, subnormals, infinities and NaN included. */
export function decodeFloat16(bits: Uint16Array): Float32Array {
  const values = new Float32Array(bits.length)
  for (let index = 0; index < bits.length; index++) {
    const sign = bits[index] & 0x8000 ? -1 : 1
    const exponent = (bits[index] >>> 10) & 0x1f
    const fraction = bits[index] & 0x3ff
    if (exponent === 31) values[index] = fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
    else values[index] = sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15))
  }
  return values
}
