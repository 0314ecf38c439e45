import type { AttentionSettings, LabDescription } from '../lab-contract.js'

/** Block sizes that every method takes; InfLLM v2 has no smaller ones. */
export const BLOCK_SIZES: readonly number[] = [16, 32, 64]

/** The settings that a model was trained with, as far as the sliders have them. */
export function trainedSettings({ phsa }: LabDescription): AttentionSettings {
  const blockSize = BLOCK_SIZES.find((size) => size >= phsa.blockSize) ?? BLOCK_SIZES[0]
  const lambda = typeof phsa.lambda === 'number' ? phsa.lambda : meanOf(phsa.lambda.flat())
  return withBlockSize({ ...phsa, lambda }, blockSize)
}

/** Settings with blocks of another size: the windows become multiples of it (spec 1). */
export function withBlockSize(settings: AttentionSettings, blockSize: number): AttentionSettings {
  const { initTokens, localTokens, topK, lambda } = settings
  const rounded = (tokens: number) => Math.ceil(tokens / blockSize) * blockSize
  return { blockSize, initTokens: rounded(initTokens), localTokens: Math.max(blockSize, rounded(localTokens)), topK, lambda }
}

function meanOf(values: readonly number[]): number {
  return Math.round((100 * values.reduce((sum, value) => sum + value, 0)) / values.length) / 100
}
