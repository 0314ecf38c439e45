/** The Castagnoli polynomial, bits reversed. */
const POLYNOMIAL = 0x82f63b78

const TABLE: readonly number[] = Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte
  for (let bit = 0; bit < 8; bit++) remainder = (remainder >>> 1) ^ (remainder & 1 ? POLYNOMIAL : 0)
  return remainder
})

/** CRC-32C (RFC 3720) of bytes, 0 to 2^32 - 1. Ours because the npm packages with this polynomial bring native code or a cloud client's types along. */
export function crc32c(bytes: Uint8Array): number {
  let remainder = -1
  for (const byte of bytes) remainder = TABLE[(remainder ^ byte) & 0xff] ^ (remainder >>> 8)
  return ~remainder >>> 0
}

/** The masked form that TFRecord files hold: rotated by 15 bits and shifted, so that a checksum over data with checksums stays a good one. */
export function maskedCrc32c(bytes: Uint8Array): number {
  const crc = crc32c(bytes)
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
}
