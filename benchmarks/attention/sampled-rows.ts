import { type AttentionSpec, RandomStream } from '@phsa/core'

/**
 * Positions that are compared with float64: the borders where windows and blocks begin to matter, the end, and random ones between.
 * @param count positions at most, but for the borders
 */
export function sampledRows({ blockSize, initTokens, localTokens, topK }: AttentionSpec, length: number, count: number): number[] {
  const windows = initTokens + localTokens
  const borders = [0, 1, blockSize - 1, blockSize, localTokens, windows - 1, windows + blockSize, windows + (topK + 1) * blockSize]
  const ends = [length - blockSize - 1, length - 2, length - 1]
  const random = new RandomStream(length)
  const between = Array.from({ length: count }, () => random.below(length))
  const rows = new Set([...borders, ...ends, ...between].filter((row) => row >= 0 && row < length))
  return [...rows].sort((left, right) => left - right)
}
