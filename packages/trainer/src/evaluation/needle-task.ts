import type { RandomStream } from '@phsa/core'

/** One fact to hide, what asks for it, and what counts as an answer; token ids, at least one each. */
export interface NeedleTrial {
  /** The fact, put into the filler. */
  readonly needle: Int32Array
  /** Ends the prompt. */
  readonly question: Int32Array
  /** What the model must continue the prompt with. */
  readonly answer: Int32Array
}

/** Makes needle-in-a-haystack trials (spec 9): `textNeedle` for text, or anything that a model was trained to find. */
export interface NeedleTask {
  /** The trial that these random numbers decide, and nothing else. */
  trial(random: RandomStream): NeedleTrial
}
