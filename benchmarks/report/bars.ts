import type { ScoreKind } from '@phsa/core'

/** How much faster than something else attention must be: factors, by what is measured. Plain JSON. */
export interface Bar {
  readonly heads: number
  readonly kvHeads: number
  readonly length: number
  readonly blockSize: number
  readonly topK: number
  /** Both, where it names none. */
  readonly score?: ScoreKind
  /**
   * What the factors are of: cuDNN's dense attention in the same run, or milliseconds that were measured elsewhere (forward, and forward and
   * backward), with their source.
   */
  readonly baseline: 'cudnn' | { readonly forward: number; readonly both: number; readonly source: string }
  /** Pool, select and attend on data A. */
  readonly forwardA: number
  readonly forwardB: number
  /** Forward and backward on data A. */
  readonly bothA: number
}

const SMALL = { heads: 16, kvHeads: 8, blockSize: 16, topK: 16, baseline: 'cudnn' } as const
const LARGE = { ...SMALL, heads: 32, score: 'logit' } as const

/** The bars that the kernels were written against; a factor of 1 is "not slower". */
export const BARS: readonly Bar[] = [
  { ...SMALL, length: 32768, score: 'softmax', forwardA: 4, forwardB: 3, bothA: 5 },
  { ...SMALL, length: 32768, score: 'logit', forwardA: 5, forwardB: 3.5, bothA: 5 },
  { ...SMALL, length: 131072, score: 'softmax', forwardA: 11, forwardB: 8, bothA: 16 },
  { ...SMALL, length: 131072, score: 'logit', forwardA: 16, forwardB: 11, bothA: 20 },
  { ...LARGE, length: 32768, forwardA: 5, forwardB: 3.5, bothA: 5 },
  { ...LARGE, length: 131072, forwardA: 16, forwardB: 11, bothA: 20 },
  {
    heads: 32,
    kvHeads: 2,
    length: 32768,
    blockSize: 64,
    topK: 55,
    baseline: { forward: 15.8, both: 102, source: 'InfLLM v2 kernel without selection, one H100, measured earlier' },
    forwardA: 3,
    forwardB: 2,
    bothA: 4,
  },
  { ...SMALL, length: 8192, topK: 2, forwardA: 1, forwardB: 1, bothA: 1 },
]
