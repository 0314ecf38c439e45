import { InvalidConfigError } from '@phsa/core'

/** The learning rate over a run: linear warm-up to a peak, then decay. */
export interface LearningRateOptions {
  /** Highest rate, reached when the warm-up ends. */
  readonly peak: number
  /** Steps of linear warm-up; 0 for none. */
  readonly warmupSteps: number
  /** Shape of the fall from the peak to the last step. */
  readonly decay: 'cosine' | 'linear' | 'none'
  /** Rate of the last step over the peak, 0 to 1. */
  readonly finalShare: number
  readonly totalSteps: number
}

/** Learning rate of a step, counted from 0: linear warm-up, then decay that reaches `finalShare` of the peak at the last step. */
export function learningRateAt(step: number, { peak, warmupSteps, decay, finalShare, totalSteps }: LearningRateOptions): number {
  // The first step already learns: it gets 1 / warmupSteps of the peak.
  if (step < warmupSteps) return (peak * (step + 1)) / warmupSteps
  if (decay === 'none') return peak
  const progress = Math.min(1, (step - warmupSteps) / Math.max(1, totalSteps - 1 - warmupSteps))
  const fallen = decay === 'cosine' ? (1 - Math.cos(Math.PI * progress)) / 2 : progress
  return peak * (1 - (1 - finalShare) * fallen)
}

/** @throws InvalidConfigError naming the setting, its value and what is allowed */
export function requireLearningRate({ peak, warmupSteps, decay, finalShare }: LearningRateOptions): void {
  if (!(peak > 0 && Number.isFinite(peak))) {
    throw new InvalidConfigError('learningRate', `learningRate is ${peak}; it must be a positive number, 0.001 for instance.`)
  }
  if (!Number.isInteger(warmupSteps) || warmupSteps < 0) {
    throw new InvalidConfigError('warmupSteps', `warmupSteps is ${warmupSteps}; it must be a non-negative integer.`)
  }
  if (!['cosine', 'linear', 'none'].includes(decay)) {
    throw new InvalidConfigError('decay', `decay is ${JSON.stringify(decay)}; it must be cosine, linear or none.`)
  }
  if (!(finalShare >= 0 && finalShare <= 1)) {
    throw new InvalidConfigError('finalShare', `finalShare is ${finalShare}; it must be a number from 0 to 1.`)
  }
}
