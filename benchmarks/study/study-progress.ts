import type { StepEvent } from '@phsa/trainer'
import { lossCurve, stepTimes } from './step-times.js'
import type { StudyConfig } from './study-config.js'

/** Losses of the last ones of some steps, and the time of a step. */
export function describeSteps(events: readonly StepEvent[], { sequences, tokens }: StudyConfig['batch']): string {
  const { loss, distillationLoss } = lossCurve(events).at(-1)!
  const taught = distillationLoss === undefined ? '' : `, distillation ${distillationLoss.toFixed(3)}`
  return `loss ${loss.toFixed(3)}${taught}, ${stepTimes(events, sequences * tokens).median.toFixed(1)} ms a step`
}

/** Seconds since a time of `performance.now()`. */
export function secondsSince(started: number): string {
  return ((performance.now() - started) / 1000).toFixed(1)
}
