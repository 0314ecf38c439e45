import { SparsitySchedule, type SparsityStage } from '@phsa/core'
import type { TrainerOptions } from '@phsa/trainer'

/** Steps of one setting of the trainer. */
export interface TrainerCase {
  readonly name: string
  readonly options: Pick<TrainerOptions, 'batch' | 'schedule' | 'distillation' | 'ema'>
}

/** Query positions a sequence that are distilled: the default of the trainer. */
const ROWS = 256

/** What a moving average, distillation and accumulation cost, each beside the same steps without it. One document a row, so that steps can be recorded. */
export function trainerCases(tokens: number): TrainerCase[] {
  const dense = schedule({ kind: 'dense', share: 1 })
  const sparse = schedule({ kind: 'sparse', share: 1, topK: 2 })
  const distilled = schedule({ kind: 'sparse', share: 1, topK: 2, distillation: true })
  const batch = (sequences: number, accumulate = 1) => ({ sequences, tokens, accumulate })
  const distillation = { rowsPerSequence: ROWS }
  return [
    { name: 'dense', options: { batch: batch(1), schedule: dense } },
    { name: 'dense, average', options: { batch: batch(1), schedule: dense, ema: { decay: 0.999 } } },
    { name: 'topK 2', options: { batch: batch(1), schedule: sparse } },
    { name: 'topK 2, distillation', options: { batch: batch(1), schedule: distilled, distillation } },
    { name: 'topK 2, accumulate 4', options: { batch: batch(1, 4), schedule: sparse } },
    { name: 'topK 2, accumulate 4, distillation', options: { batch: batch(1, 4), schedule: distilled, distillation } },
  ]
}

function schedule(stage: SparsityStage): SparsitySchedule {
  return new SparsitySchedule([stage])
}
