import type { DType, HostArray } from '../contract/tensor.js'

/**
 * Float data as a tensor of this type holds it: rounded to nearest, ties to even. Written apart from the reference backend, because the
 * upload of both is compared with it.
 */
export function rounded(data: HostArray, dtype: DType): Float32Array {
  if (dtype === 'bf16') return toBfloat16(Float32Array.from(data))
  if (dtype === 'f16') return Float32Array.from(data, toFloat16)
  return Float32Array.from(data)
}

function toBfloat16(values: Float32Array): Float32Array {
  const words = new Uint32Array(values.buffer)
  for (const [index, bits] of words.entries()) {
    // Half of the dropped part, less one where the kept part is even.
    if (!Number.isNaN(values[index])) words[index] = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000
  }
  return values
}

function toFloat16(value: number): number {
  const magnitude = Math.abs(value)
  if (!(magnitude > 0) || magnitude === Number.POSITIVE_INFINITY) return value
  // 11 significant bits, fewer below 2^-14, where the spacing stays 2^-24.
  const exponent = Math.max(-14, Math.floor(Math.log2(magnitude)))
  const spacing = 2 ** (exponent - 10)
  const steps = magnitude / spacing
  const below = Math.floor(steps)
  const rest = steps - below
  const up = rest > 0.5 || (rest === 0.5 && below % 2 === 1)
  const result = (below + (up ? 1 : 0)) * spacing
  return Math.sign(value) * (result > 65504 ? Number.POSITIVE_INFINITY : result)
}
