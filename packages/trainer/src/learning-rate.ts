import { InvalidConfigError } from '@phsa/core'

/** How the learning rate falls from its peak. */
export const DECAYS = ['cosine', 'linear', 'none', 'wsd'] as const

/** The learning rate over a run: linear warm-up to a peak, then decay. */
export interface LearningRateOptions {
  /** Highest rate, reached when the warm-up ends. */
  readonly peak: number
  /** Steps of linear warm-up; 0 for none. */
  readonly warmupSteps: number
  /** Fall from the peak to the last step; `wsd` keeps the peak first and falls over the last `decayShare` of the steps. */
  readonly decay: (typeof DECAYS)[number]
  /** Share of all steps that fall in `wsd`, above 0, up to 1; default 0.2. */
  readonly decayShare?: number
  /** Rate of the last step over the peak, 0 to 1. */
  readonly finalShare: number
  readonly totalSteps: number
}

/**
 * Learning rate of a step, counted from 0: linear warm-up, then decay that reaches `finalShare` of the peak at the last step.
 *
 * `wsd` is warm-up, stable, decay (Hu et al., MiniCPM, arXiv 2404.06395): a run can be lengthened from any checkpoint of its stable part. Its
 * defaults, a fifth of the steps in the shape 1 - sqrt(progress), are those that Haegele et al. (arXiv 2405.18392) found best.
 */
export function learningRateAt(step: number, options: LearningRateOptions): number {
  const { peak, warmupSteps, decay, finalShare, totalSteps } = options
  // The first step already learns: it gets 1 / warmupSteps of the peak.
  if (step < warmupSteps) return (peak * (step + 1)) / warmupSteps
  const lastAtPeak = lastPeakStep(options)
  const progress = Math.min(1, Math.max(0, (step - lastAtPeak) / Math.max(1, totalSteps - 1 - lastAtPeak)))
  return peak * (1 - (1 - finalShare) * fallen(progress, decay))
}

/** The step from which the rate falls. */
function lastPeakStep({ warmupSteps, decay, decayShare = 0.2, totalSteps }: LearningRateOptions): number {
  if (decay !== 'wsd') return warmupSteps
  return Math.max(warmupSteps, totalSteps - 1 - Math.max(1, Math.round(decayShare * totalSteps)))
}

/** Share of the fall that is done. */
function fallen(progress: number, decay: LearningRateOptions['decay']): number {
  switch (decay) {
    case 'cosine':
      return (1 - Math.cos(Math.PI * progress)) / 2
    case 'linear':
      return progress
    case 'wsd':
      return Math.sqrt(progress)
    case 'none':
      return 0
  }
}

/** @throws InvalidConfigError naming the setting, its value and what is allowed */
export function requireLearningRate({ peak, warmupSteps, decay, decayShare, finalShare }: LearningRateOptions): void {
  if (!(peak > 0 && Number.isFinite(peak))) {
    throw new InvalidConfigError('learningRate', `learningRate is ${peak}; it must be a positive number, 0.001 for instance.`)
  }
  if (!Number.isInteger(warmupSteps) || warmupSteps < 0) {
    throw new InvalidConfigError('warmupSteps', `warmupSteps is ${warmupSteps}; it must be a non-negative integer.`)
  }
  if (!DECAYS.includes(decay)) {
    throw new InvalidConfigError('decay', `decay is ${JSON.stringify(decay)}; it must be one of ${DECAYS.join(', ')}.`)
  }
  if (!(finalShare >= 0 && finalShare <= 1)) {
    throw new InvalidConfigError('finalShare', `finalShare is ${finalShare}; it must be a number from 0 to 1.`)
  }
  if (decayShare !== undefined && decay !== 'wsd') {
    throw new InvalidConfigError(
      'decayShare',
      `decayShare is ${decayShare}, but decay is ${decay}; leave decayShare out, or set decay to wsd.`,
    )
  }
  if (decayShare !== undefined && !(decayShare > 0 && decayShare <= 1)) {
    throw new InvalidConfigError('decayShare', `decayShare is ${decayShare}; it must be a number above 0, up to 1.`)
  }
}
