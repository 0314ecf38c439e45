import type { AttentionSpec } from '../contract/attention-spec.js'
import type { HostLayout, Reals } from './host-layout.js'

/** `TokenWeights` with its tensors read. */
export type HostTokenWeights =
  | { readonly kind: 'fused'; readonly weights: Reals }
  | { readonly kind: 'branches'; readonly global: Reals; readonly punctuation: Reals; readonly lambda: Reals }

/** Host form of `PoolInput`. */
export interface PoolArrays {
  /** [Tk, Hkv, D] */
  readonly k: Reals
  readonly weights: HostTokenWeights
}

/** Block representatives M, [Hkv, blocks * r, D]: weighted sums of the keys of each sub-block (spec 3). */
export function poolBlocks({ k, weights }: PoolArrays, layout: HostLayout, spec: AttentionSpec): Float64Array {
  const { kvHeads, headDim, representatives } = spec
  const reps = new Float64Array(kvHeads * layout.blocks * representatives * headDim)
  forEachToken(layout, spec, (token, representative) => {
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      const weight = tokenWeight(weights, token, kvHead)
      const target = (kvHead * layout.blocks * representatives + representative) * headDim
      const source = (token * kvHeads + kvHead) * headDim
      for (let d = 0; d < headDim; d++) reps[target + d] += weight * k[source + d]
    }
  })
  return reps
}

/** Gradients of `poolBlocks`: dk [Tk, Hkv, D], and dLambda [Hkv], which is 0 for fused weights. */
export function poolBlocksBackward(
  { k, weights, dReps }: PoolArrays & { readonly dReps: Reals },
  layout: HostLayout,
  spec: AttentionSpec,
): { dk: Float64Array; dLambda: Float64Array } {
  const { kvHeads, headDim, representatives } = spec
  const dk = new Float64Array(layout.keyTokens * kvHeads * headDim)
  const dLambda = new Float64Array(kvHeads)
  forEachToken(layout, spec, (token, representative) => {
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      const weight = tokenWeight(weights, token, kvHead)
      // dM / dlambda = Mo - Mp
      const difference = weights.kind === 'branches' ? weights.global[token] - weights.punctuation[token] : 0
      const source = (kvHead * layout.blocks * representatives + representative) * headDim
      const target = (token * kvHeads + kvHead) * headDim
      for (let d = 0; d < headDim; d++) {
        dk[target + d] += weight * dReps[source + d]
        dLambda[kvHead] += difference * k[target + d] * dReps[source + d]
      }
    }
  })
  return { dk, dLambda }
}

/** Visits each row of k that belongs to a sequence, with the row of its sub-block among the representatives of a head. */
function forEachToken(layout: HostLayout, spec: AttentionSpec, visit: (token: number, representative: number) => void): void {
  const { blockSize, representatives } = spec
  const subBlockSize = blockSize / representatives
  for (let sequence = 0; sequence < layout.sequences; sequence++) {
    const start = layout.keyStarts[sequence]
    const firstRepresentative = layout.blockStarts[sequence] * representatives
    for (let token = start; token < layout.keyStarts[sequence + 1]; token++) {
      visit(token, firstRepresentative + Math.floor((token - start) / subBlockSize))
    }
  }
}

function tokenWeight(weights: HostTokenWeights, token: number, kvHead: number): number {
  if (weights.kind === 'fused') return weights.weights[token]
  const lambda = weights.lambda[kvHead]
  return lambda * weights.global[token] + (1 - lambda) * weights.punctuation[token]
}
