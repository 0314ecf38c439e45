import { readFileSync } from 'node:fs'
import type { StepEvent } from '@phsa/trainer'

/** Wall time of training steps, milliseconds. */
export interface StepTimes {
  /** Over all steps: each topK weighs as many as it had. */
  readonly mean: number
  /** Of the last topK. */
  readonly median: number
  /** A quarter of the steps took less, a quarter more. */
  readonly quartiles: readonly [low: number, high: number]
  readonly steps: number
}

/** Means over some steps. */
export interface CurvePoint {
  /** Last of them. */
  readonly step: number
  /** Answers weigh more in it than other tokens. */
  readonly loss: number
  readonly distillationLoss?: number
}

/** Steps of a point of the curve. */
const POINT_STEPS = 40

/** Events of a step log after a step. */
export function readSteps(log: string, after: number): StepEvent[] {
  const events = readFileSync(log, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as StepEvent)
  return events.filter(({ step }) => step > after)
}

/** By the later half of the steps at each topK: the first ones compile, record, and meet facts that are tokenized for the first time. */
export function stepTimes(events: readonly StepEvent[], stepTokens: number): StepTimes {
  const parts = [...new Set(events.map(({ topK }) => topK))].map((topK) => {
    const own = events.filter((event) => event.topK === topK)
    const later = own.slice(Math.floor(own.length / 2))
    const sorted = later.map(({ tokensPerSecond }) => (1000 * stepTokens) / tokensPerSecond).sort((left, right) => left - right)
    const at = (share: number) => sorted[Math.floor(share * (sorted.length - 1))]
    return { all: own.length, median: at(0.5), quartiles: [at(0.25), at(0.75)] as const, steps: sorted.length }
  })
  const mean = parts.reduce((sum, { all, median }) => sum + all * median, 0) / events.length
  const { median, quartiles, steps } = parts[parts.length - 1]
  return { mean, median, quartiles, steps }
}

/** Losses, averaged over stretches of the run. */
export function lossCurve(events: readonly StepEvent[]): CurvePoint[] {
  const points: CurvePoint[] = []
  for (let start = 0; start < events.length; start += POINT_STEPS) {
    const some = events.slice(start, start + POINT_STEPS)
    const mean = (of: (event: StepEvent) => number) => some.reduce((sum, event) => sum + of(event), 0) / some.length
    const isDistilled = some.every(({ distillationLoss }) => distillationLoss !== undefined)
    points.push({
      step: some[some.length - 1].step,
      loss: mean(({ loss }) => loss),
      ...(isDistilled && { distillationLoss: mean(({ distillationLoss = 0 }) => distillationLoss) }),
    })
  }
  return points
}
