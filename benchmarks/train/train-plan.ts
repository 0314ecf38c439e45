import { BENCH_PHSA, type ModelPlan, QWEN3_06B, type TrainPlan } from '../model/model-plan.js'

/** What `--only` names: sequences x tokens of a step. */
export const TRAIN_GROUPS = ['8x4096', '1x32768', '1x131072'] as const
export type TrainGroup = (typeof TRAIN_GROUPS)[number]

/** Longer sequences are worked with recomputation, and not densely. */
const LONG = 65_536

/** Steps of the Qwen3-0.6B shape at topK 2 and 16, then dense: one dense sequence takes as long as several others. */
export function trainingPlan(groups: readonly TrainGroup[]): ModelPlan {
  const shapes = TRAIN_GROUPS.filter((group) => groups.includes(group)).map((group) => {
    const [sequences, length] = group.split('x').map(Number)
    return { group: 'train', length, sequences, recompute: length > LONG } as const
  })
  const sparse = shapes.flatMap((shape) => [2, 16].map((topK): TrainPlan => ({ ...shape, attention: 'phsa', topK })))
  const dense = shapes.filter(({ length }) => length <= LONG).map((shape): TrainPlan => ({ ...shape, attention: 'dense' }))
  return planOf(QWEN3_06B, [...sparse, ...dense], 8192)
}

/** Two layers and short sequences, to see that everything works. */
export function smallTrainingPlan(): ModelPlan {
  const config = { ...QWEN3_06B, vocabSize: 8192, layers: 2, maxPositions: 4096 }
  const row = { group: 'train', length: 1024, sequences: 2 } as const
  const rows = [
    { ...row, attention: 'phsa', topK: 2, recompute: false },
    { ...row, attention: 'phsa', topK: 2, recompute: true },
    { ...row, attention: 'dense', recompute: false },
  ] as const
  return planOf(config, rows, 2048)
}

function planOf(config: ModelPlan['config'], rows: readonly TrainPlan[], productSize: number): ModelPlan {
  return { config, phsa: BENCH_PHSA, dtype: 'bf16', rows, chunk: 4096, memorySteps: 0, productSize }
}
