import type { AttentionSpec, Layout, TokenWeights } from '@phsa/core'
import type { TfjsMemory } from '../memory/tfjs-memory.js'
import type { PackedSequence } from './packed-sequences.js'

/** Token weights, read; functions of the token, because lambda can differ by head. */
interface HostWeights {
  of(token: number, kvHead: number): number
  /** d weight / d lambda. */
  slope(token: number): number
}

/**
 * Block representatives, [Hkv, blocks * r, D] (spec 3). On the host: it reads k once, and a block's NaN stays in its own representative,
 * which a matrix product with zero weights would not promise.
 */
export function poolBlocks(
  k: Float32Array,
  weights: HostWeights,
  sequences: readonly PackedSequence[],
  layout: Layout,
  spec: AttentionSpec,
): Float32Array {
  const { kvHeads, headDim, representatives } = spec
  const reps = new Float32Array(kvHeads * layout.blocks * representatives * headDim)
  forEachKey(sequences, layout, spec, (token, kvHead, key, rep) => {
    const weight = weights.of(token, kvHead)
    for (let d = 0; d < headDim; d++) reps[rep + d] += weight * k[key + d]
  })
  return reps
}

/** Adds the gradients of `poolBlocks` to dk [Tk, Hkv, D] and, where it is given, to dLambda [Hkv]. */
export function poolBlocksBackward(
  dReps: Float32Array,
  k: Float32Array,
  weights: HostWeights,
  gradients: { readonly dk: Float32Array; readonly dLambda: Float32Array | undefined },
  sequences: readonly PackedSequence[],
  layout: Layout,
  spec: AttentionSpec,
): void {
  const { headDim, kvHeads } = spec
  const { dk, dLambda } = gradients
  const slopes = new Float64Array(kvHeads)
  forEachKey(sequences, layout, spec, (token, kvHead, key, rep) => {
    const weight = weights.of(token, kvHead)
    for (let d = 0; d < headDim; d++) dk[key + d] += weight * dReps[rep + d]
    const slope = weights.slope(token)
    if (!dLambda || slope === 0) return
    let dot = 0
    for (let d = 0; d < headDim; d++) dot += k[key + d] * dReps[rep + d]
    slopes[kvHead] += slope * dot
  })
  if (dLambda) for (let kvHead = 0; kvHead < kvHeads; kvHead++) dLambda[kvHead] += slopes[kvHead]
}

/** Reads token weights of either kind (spec 3). */
export function hostWeights(memory: TfjsMemory, weights: TokenWeights): HostWeights {
  if (weights.kind === 'fused') {
    const fused = memory.host(weights.weights)
    return { of: (token) => fused[token], slope: () => 0 }
  }
  const global = memory.host(weights.global)
  const punctuation = memory.host(weights.punctuation)
  const lambda = memory.host(weights.lambda)
  return {
    of: (token, kvHead) => lambda[kvHead] * global[token] + (1 - lambda[kvHead]) * punctuation[token],
    slope: (token) => global[token] - punctuation[token],
  }
}

/** Visits every key of every KV head with its offset in k and that of its sub-block in the representatives. */
function forEachKey(
  sequences: readonly PackedSequence[],
  layout: Layout,
  spec: AttentionSpec,
  visit: (token: number, kvHead: number, key: number, rep: number) => void,
): void {
  const { kvHeads, headDim, representatives, blockSize } = spec
  const subBlockSize = blockSize / representatives
  for (const { keyStart, keys, blockStart } of sequences) {
    for (let position = 0; position < keys; position++) {
      const token = keyStart + position
      const row = blockStart * representatives + Math.floor(position / subBlockSize)
      for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
        visit(token, kvHead, (token * kvHeads + kvHead) * headDim, (kvHead * layout.blocks * representatives + row) * headDim)
      }
    }
  }
}
