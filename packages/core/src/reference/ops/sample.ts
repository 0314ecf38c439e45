import type { Reals } from '../host-layout.js'
import { softmax } from '../softmax.js'

/** One row of the control tensor of `ModelOps.sample`. */
export interface SampleControl {
  /** 0: the likeliest. */
  readonly temperature: number
  /** 0: all. */
  readonly topK: number
  readonly topP: number
  readonly minP: number
  /** In [0, 1). */
  readonly uniform: number
}

/** Draws a token from logits [V] by inverting the running share of the kept mass; the same on every backend for the same uniform number. */
export function sampleToken(logits: Reals, { temperature, topK, topP, minP, uniform }: SampleControl): number {
  // NaN counts as impossible, so that the order stays total.
  const ordered = Array.from(logits, (logit, id) => ({ id, logit: Number.isNaN(logit) ? Number.NEGATIVE_INFINITY : logit }))
  ordered.sort((a, b) => (a.logit === b.logit ? a.id - b.id : b.logit - a.logit))
  if (temperature <= 0) return ordered[0].id

  const probabilities = softmax(Float64Array.from(ordered, ({ logit }) => logit / temperature))
  const kept = keptCount(probabilities, topK, topP, minP)
  let keptMass = 0
  for (let index = 0; index < kept; index++) keptMass += probabilities[index]
  let running = 0
  for (let index = 0; index < kept; index++) {
    running += probabilities[index]
    if (running / keptMass > uniform) return ordered[index].id
  }
  // Only where no logit is finite: there are no shares to draw by.
  return ordered[0].id
}

/** How many of the falling probabilities stay: topK first ones, of these the shortest run that holds topP of their mass, of these those of minP times the largest. */
function keptCount(probabilities: Float64Array, topK: number, topP: number, minP: number): number {
  let kept = topK > 0 ? Math.min(topK, probabilities.length) : probabilities.length
  if (topP < 1) {
    const wanted = topP * probabilities.subarray(0, kept).reduce((sum, probability) => sum + probability, 0)
    let mass = 0
    for (let index = 0; index < kept; index++) {
      mass += probabilities[index]
      if (mass >= wanted) kept = index + 1
    }
  }
  while (kept > 1 && probabilities[kept - 1] < minP * probabilities[0]) kept--
  return kept
}
