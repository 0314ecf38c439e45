import { InvalidConfigError } from './errors/invalid-config-error.js'
import { ShapeError } from './errors/shape-error.js'
import type { PackedLayout } from './packed-layout.js'

/**
 * Weight of each token in the representative of its (sub-)block: the fusion of both branches as one weighted mean (spec 3).
 *
 * @param punctuation one byte a token, non-zero for punctuation; length T
 * @param lambda weight of the global branch, 0 to 1; 1 is the plain mean-pool
 * @param representatives sub-blocks a block; the weights of each sub-block sum to 1
 * @returns Float32Array [T]
 */
export function poolingWeights(punctuation: Uint8Array, layout: PackedLayout, lambda: number, representatives = 1): Float32Array {
  if (!(lambda >= 0 && lambda <= 1)) throw new InvalidConfigError('lambda', `lambda is ${lambda}; it must lie between 0 and 1.`)
  assertRow(punctuation, layout)
  const weights = new Float32Array(layout.totalTokens)
  for (const block of layout.blocks(representatives)) {
    const marks = countMarks(punctuation, block.start, block.end)
    // A block without punctuation falls back to its mean, so the branches need no mask in any kernel.
    const shared = marks === 0 ? 1 / block.length : lambda / block.length
    const extra = marks === 0 ? 0 : (1 - lambda) / marks
    for (let token = block.start; token < block.end; token++) weights[token] = shared + (punctuation[token] ? extra : 0)
  }
  return weights
}

/** Weights of both branches apart, for a lambda per KV head (spec 3); both Float32Array [T]. */
export function branchWeights(
  punctuation: Uint8Array,
  layout: PackedLayout,
  representatives = 1,
): { global: Float32Array; punctuation: Float32Array } {
  return {
    global: poolingWeights(punctuation, layout, 1, representatives),
    punctuation: poolingWeights(punctuation, layout, 0, representatives),
  }
}

function assertRow(punctuation: Uint8Array, layout: PackedLayout): void {
  if (punctuation.length !== layout.totalTokens) {
    throw new ShapeError(`punctuation has ${punctuation.length} entries for ${layout.totalTokens} tokens; give one byte a token.`)
  }
}

function countMarks(punctuation: Uint8Array, start: number, end: number): number {
  let marks = 0
  for (let token = start; token < end; token++) if (punctuation[token]) marks++
  return marks
}
