import { defaultSchedule, type ModelBackend, type PunctuationTable } from '@phsa/core'
import { DecoderModel } from '@phsa/model'
import { createTrainer, type TrainingData } from '@phsa/trainer'
import type { Interruption } from '../interruption.js'
import { DEMO_BATCH, DEMO_MODEL, DEMO_PHSA, DEMO_SCHEDULE } from './demo-recipe.js'

/** Seconds of one training step. */
export interface StepTimes {
  readonly dense: number
  readonly sparse: number
}

/** Steps measured of each kind, and how many of them warm up and do not count. */
const MEASURED = 5
const WARM_UP = 2

/** Times a few steps of each kind on a model that is thrown away, so that the run itself does not depend on the clock. */
export async function measureSteps(
  backend: ModelBackend,
  { data, punctuation, interruption }: { data: TrainingData; punctuation: PunctuationTable; interruption: Interruption },
): Promise<StepTimes> {
  const model = DecoderModel.create({ config: DEMO_MODEL, backend, phsa: DEMO_PHSA, seed: 0 })
  const seconds: { dense: number[]; sparse: number[] } = { dense: [], sparse: [] }
  try {
    const { signal } = interruption
    const trainer = createTrainer({
      model,
      data,
      punctuation,
      batch: DEMO_BATCH,
      steps: 2 * MEASURED,
      schedule: defaultSchedule(0.5),
      signal,
    })
    for await (const { topK, tokensPerSecond } of trainer) {
      seconds[topK === 'dense' ? 'dense' : 'sparse'].push((DEMO_BATCH.sequences * DEMO_BATCH.tokens) / tokensPerSecond)
    }
  } finally {
    model.dispose()
  }
  return { dense: Math.min(...seconds.dense.slice(WARM_UP)), sparse: Math.min(...seconds.sparse.slice(WARM_UP)) }
}

/** Steps of the demo's schedule that fit a time; at least ten, so that both stages are seen. */
export function stepsWithin(budget: number, { dense, sparse }: StepTimes): number {
  const [denseEnd] = DEMO_SCHEDULE.ends(1000)
  const share = denseEnd / 1000
  return Math.max(10, Math.floor(budget / (share * dense + (1 - share) * sparse)))
}
