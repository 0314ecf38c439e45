import { type ModelBackend, type PunctuationTable, SparsitySchedule, type SparsityStage } from '@phsa/core'
import { DecoderModel } from '@phsa/model'
import { createTrainer, type TrainingData } from '@phsa/trainer'
import type { AttentionShare, BenchContext, Measurement, ModelBenchCase } from './bench-case.js'
import { type BenchModel, modelShape, type Sparsity, sparsityName } from './bench-model.js'
import { absentAttention, timedAttention, withAttention } from './replaced-attention.js'
import { checkStep } from './step-gate.js'
import { isEnough, medianOf, type TimingLimits, timingOf } from './timing.js'

/** The text of the steps, tokenized. */
export interface StepData {
  readonly data: TrainingData
  readonly punctuation?: PunctuationTable
}

/** Steps that warm up: the first compiles, the second fills caches. */
const WARM_UP = 2
/** Steps on which the share of attention is measured. */
const SHARE_STEPS = 5

/** A training step: dense, or sparse with block distillation. @param load reads the text when it is needed */
export function stepCase(model: BenchModel, sparsity: Sparsity, load: () => Promise<StepData>): ModelBenchCase {
  const tokens = tokensOf(model)
  return {
    group: 'step',
    name: `step ${sparsityName(model, sparsity)}`,
    shape: { tokens, ...modelShape(model, sparsity), distillation: sparsity === 'sparse' ? 'yes' : 'no' },
    gate: (context) => checkStep(context, model, sparsity),
    async measure(context): Promise<Measurement[]> {
      const input = { context, model, sparsity, ...(await load()) }
      // Apart from each other: a stopwatch in the kernels must not slow the steps that count.
      const timing = timingOf(await secondsOfSteps(input, context.limits), WARM_UP)
      return [{ name: 'step', timing, tokens, attentionShare: await attentionShare(input) }]
    },
  }
}

interface StepInput extends StepData {
  readonly context: BenchContext
  readonly model: BenchModel
  readonly sparsity: Sparsity
}

function tokensOf({ batch }: BenchModel): number {
  return batch.sequences * batch.tokens
}

async function attentionShare(input: StepInput): Promise<AttentionShare> {
  const { backend } = input.context
  if (backend.limits.blocking) {
    const stopwatch = timedAttention(backend.attention)
    const shares: number[] = []
    for await (const seconds of timedSteps(input, withAttention(backend, stopwatch.attention), SHARE_STEPS)) {
      shares.push(stopwatch.take() / seconds)
    }
    const counted = shares.slice(WARM_UP)
    return { share: medianOf(counted), method: 'timed-calls', steps: counted.length }
  }
  // In turns: what else the machine does meanwhile then slows both alike.
  const without = timedSteps(input, withAttention(backend, absentAttention(backend.memory)), SHARE_STEPS)
  const shares: number[] = []
  try {
    for await (const seconds of timedSteps(input, backend, SHARE_STEPS)) {
      const { value } = await without.next()
      if (value !== undefined) shares.push(1 - value / seconds)
    }
  } finally {
    await without.return(undefined)
  }
  const counted = shares.slice(WARM_UP)
  return { share: Math.max(0, medianOf(counted)), method: 'difference', steps: counted.length }
}

async function secondsOfSteps(input: StepInput, limits: TimingLimits): Promise<number[]> {
  const seconds: number[] = []
  for await (const step of timedSteps(input, input.context.backend, limits.most)) {
    seconds.push(step)
    if (isEnough(seconds.slice(WARM_UP), limits)) break
  }
  return seconds.slice(WARM_UP)
}

/** Trains a fresh model and yields the seconds of each step, first those that warm up. @param steps steps after the warm-up */
async function* timedSteps(
  { context: { interruption }, model: benched, sparsity, data, punctuation }: StepInput,
  backend: ModelBackend,
  steps: number,
): AsyncGenerator<number, undefined, undefined> {
  const { config, phsa, batch } = benched
  const model = DecoderModel.create({ config, backend, phsa, seed: 0 })
  const stage: SparsityStage =
    sparsity === 'dense' ? { kind: sparsity, share: 1 } : { kind: sparsity, share: 1, topK: phsa.topK, distillation: true }
  try {
    const schedule = new SparsitySchedule([stage])
    for await (const { tokensPerSecond } of createTrainer({ model, data, punctuation, batch, steps: WARM_UP + steps, schedule })) {
      yield tokensOf(benched) / tokensPerSecond
      await interruption.breathe()
      interruption.signal.throwIfAborted()
    }
  } finally {
    model.dispose()
  }
}
