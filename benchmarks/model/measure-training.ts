import { SparsitySchedule } from '@phsa/core'
import { createTrainer, type StepEvent, type TrainingData } from '@phsa/trainer'
import type { BenchContext, TimedModel } from './bench-context.js'
import { topicBatch } from './bench-weights.js'
import type { ModelPlan, TrainPlan } from './model-plan.js'
import type { ModelFigures } from './model-result.js'
import { NotFiniteError } from './not-finite-error.js'
import { runsFor, timeClasses, timeSteps } from './run-times.js'

/** Steps that a run may have: more than are ever taken. */
const MOST_STEPS = 1000
/** Rows of tokens, which come again and again. */
const DISTINCT_ROWS = 16
/** Steps before those that count: the first compiles, the second is recorded. */
const WARM_UP = 2

/** A training step as the trainer takes it: forward, backward, gradient norm and AdamW, until loss and norm have been downloaded. No distillation. */
export async function measureTraining(context: BenchContext, row: TrainPlan): Promise<ModelFigures> {
  const { plan, rate } = context
  const { plain, recording } = row.recompute ? context.recomputing : context
  const { timed } = plain
  const tokens = (row.sequences ?? 1) * row.length
  const measured = await withSteps(plan, plain, row, async (step) => {
    const first = await step()
    timed.takePeak()
    const queued = await timeSteps(timed, tokens, Math.min(4, runsFor(first)), step)
    const peakBytes = timed.takePeak()
    const classes = await timeClasses(timed, rate, queued.hostMilliseconds, step)
    return { queued, classes, peakBytes }
  })
  if (!recording.model.backend.capture) return measured
  const captured = await withSteps(plan, recording, row, async (step) => {
    for (let index = 0; index < WARM_UP; index++) await step()
    return timeSteps(recording.timed, tokens, Math.min(4, runsFor(measured.queued.elapsed.milliseconds)), step)
  })
  return { ...measured, captured }
}

/** Gives `run` the steps of a training run, each as the milliseconds that it took. */
async function withSteps<T>(
  plan: ModelPlan,
  { model }: TimedModel,
  row: TrainPlan,
  run: (step: () => Promise<number>) => Promise<T>,
): Promise<T> {
  const trainer = createTrainer({
    model,
    data: topicData(plan),
    batch: { sequences: row.sequences ?? 1, tokens: row.length },
    steps: MOST_STEPS,
    optimizer: { learningRate: 1e-5 },
    schedule: new SparsitySchedule([
      row.attention === 'dense' ? { kind: 'dense', share: 1 } : { kind: 'sparse', share: 1, topK: row.topK ?? plan.phsa.topK },
    ]),
  })
  const steps = trainer[Symbol.asyncIterator]()
  try {
    return await run(async () => {
      const started = performance.now()
      const { value, done } = await steps.next()
      if (done) throw new Error(`the run ended after ${MOST_STEPS} steps`)
      requireNumbers(value)
      return performance.now() - started
    })
  } finally {
    await steps.return?.()
  }
}

function requireNumbers({ step, loss, gradientNorm }: StepEvent): void {
  if (Number.isFinite(loss) && Number.isFinite(gradientNorm)) return
  throw new NotFiniteError(`step ${step}: loss ${loss}, gradient norm ${gradientNorm}`)
}

/** Every row is a sequence of its own. They are made beforehand, because drawing them would take a step the host's time. */
function topicData({ config }: ModelPlan): TrainingData {
  return {
    fingerprint: 'topics',
    largestId: config.vocabSize - 1,
    rows: ({ sequenceTokens, seed }) => {
      const rows = Array.from({ length: DISTINCT_ROWS }, (_, index) => topicBatch(sequenceTokens, config.vocabSize, seed + index).ids)
      return { row: (index) => ({ sequences: [rows[index % DISTINCT_ROWS]] }) }
    },
  }
}
