/** Element types of the safetensors format that we read: bytes an element. Others are named in an error. */
export const safetensorsBytes = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, U8: 1, BOOL: 1 } as const

/** Name of an element type as a safetensors header has it. */
export type SafetensorsType = keyof typeof safetensorsBytes

/** Elements of a tensor on the host, before they are written and after they are read. */
export type SafetensorsData = Float32Array | Float64Array | Int32Array | Uint8Array

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
  const wide = new Uint32Array(bits.length)
  const values = new Float32Array(wide.buffer)
  for (let index = 0; index < bits.length; index++) {
    const sign = (bits[index] & 0x8000) << 16
    const magnitude = bits[index] & 0x7fff
    // Infinities and NaN; then normal numbers, whose exponent moves by 112; then what is counted in steps of 2^-24.
    if (magnitude >= 0x7c00) wide[index] = sign | 0x7f800000 | ((magnitude & 0x3ff) << 13)
    else if (magnitude >= 0x400) wide[index] = sign | ((magnitude << 13) + 0x38000000)
    else values[index] = (sign ? -1 : 1) * magnitude * 2 ** -24
  }
  return values
}

/** Adding and taking it away rounds a number below 2^51 to an integer, ties to even. */
const INTEGER_SPACING = 1.5 * 2 ** 52

/** Rounds float32 to f16 bits, to nearest even, with subnormals; from 65520 on it is Infinity, NaN stays NaN. */
export function encodeFloat16(values: Float32Array): Uint16Array {
  const wide = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const bits = new Uint16Array(values.length)
  for (let index = 0; index < values.length; index++) {
    const word = wide[index]
    const sign = (word >>> 16) & 0x8000
    const magnitude = word & 0x7fffffff
    // 2^16 and more, infinities and NaN; then normal numbers, from 2^-14; then what is counted in steps of 2^-24.
    if (magnitude >= 0x47800000) bits[index] = sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00)
    else if (magnitude >= 0x38800000) bits[index] = sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13)
    else bits[index] = sign | (Math.abs(values[index]) * 2 ** 24 + INTEGER_SPACING - INTEGER_SPACING)
  }
  return bits
}
