/** Rounds finite values to bf16 in place, to nearest, ties to even: a loop over bits, because there are billions of them. */
export function roundToBfloat16(values: Float32Array): Float32Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length)
  for (let index = 0; index < words.length; index++) {
    const word = words[index]
    words[index] = (word + 0x7fff + ((word >>> 16) & 1)) & 0xffff0000
  }
  return values
}
