/** Every frequency divided by `factor`: position interpolation. */
export interface LinearRopeScaling {
  readonly type: 'linear'
  /** At least 1. */
  readonly factor: number
}

/**
 * YaRN (Peng et al., 2023), as transformers computes it: slow columns are interpolated by `factor`, fast ones kept, a linear ramp between them; cosines
 * and sines are multiplied by an attention factor.
 */
export interface YarnRopeScaling {
  readonly type: 'yarn'
  /** At least 1. */
  readonly factor: number
  /** Longest sequence before scaling; the ramp counts its rotations within this length. */
  readonly originalMaxPositions: number
  /** Columns with more rotations are kept; 32 unless told. */
  readonly betaFast?: number
  /** Columns with fewer rotations are wholly interpolated; 1 unless told. */
  readonly betaSlow?: number
  /** Whether the ends of the ramp are rounded outwards to whole columns; true unless told. */
  readonly truncate?: boolean
  /** Instead of the computed one. */
  readonly attentionFactor?: number
  /** Together with `mscaleAllDim`, both other than 0: the attention factor is the quotient of theirs. */
  readonly mscale?: number
  readonly mscaleAllDim?: number
}

/** How a model reaches past the positions it was first trained on. */
export type RopeScaling = LinearRopeScaling | YarnRopeScaling

/** What a rotary table is computed from; every `DecoderConfig` is one. */
export interface RopeSettings {
  /** D; even. */
  readonly headDim: number
  readonly ropeTheta: number
  /** Absent: none. */
  readonly ropeScaling?: RopeScaling
}

/** Radians that each of the D / 2 columns turns by per position, in float64 (spec 1). */
export function ropeFrequencies({ headDim, ropeTheta, ropeScaling }: RopeSettings): Float64Array {
  const half = headDim / 2
  const frequencies = Float64Array.from({ length: half }, (_, column) => ropeTheta ** (-column / half))
  if (ropeScaling === undefined) return frequencies
  const { factor } = ropeScaling
  if (ropeScaling.type === 'linear') return frequencies.map((frequency) => frequency / factor)
  const [first, last] = yarnRamp(ropeScaling, headDim, ropeTheta)
  return frequencies.map((frequency, column) => {
    const interpolated = Math.min(1, Math.max(0, (column - first) / (last - first)))
    return (frequency / factor) * interpolated + frequency * (1 - interpolated)
  })
}

/** What cosines and sines are multiplied by: 1 but under YaRN. */
export function ropeAttentionFactor(scaling: RopeScaling | undefined): number {
  if (scaling?.type !== 'yarn') return 1
  const { factor, attentionFactor, mscale, mscaleAllDim } = scaling
  if (attentionFactor !== undefined) return attentionFactor
  if (!mscale || !mscaleAllDim) return magnitude(factor, 1)
  return magnitude(factor, mscale) / magnitude(factor, mscaleAllDim)
}

function magnitude(factor: number, scale: number): number {
  return 0.1 * scale * Math.log(factor) + 1
}

/** First and last column of the ramp, between which a column is partly interpolated. */
function yarnRamp(scaling: YarnRopeScaling, headDim: number, theta: number): [first: number, last: number] {
  const { originalMaxPositions, betaFast = 32, betaSlow = 1, truncate = true } = scaling
  const columnOf = (rotations: number) => (headDim * Math.log(originalMaxPositions / (2 * Math.PI * rotations))) / (2 * Math.log(theta))
  const fast = columnOf(betaFast)
  const slow = columnOf(betaSlow)
  const first = Math.max(truncate ? Math.floor(fast) : fast, 0)
  // The bound is D - 1, not D / 2 - 1: transformers has it so, and checkpoints are trained with it.
  const last = Math.min(truncate ? Math.ceil(slow) : slow, headDim - 1)
  return [first, first === last ? last + 0.001 : last]
}
