import {
  defaultSchedule,
  InvalidConfigError,
  type PunctuationTable,
  phsaPolicy,
  type SelectionPolicy,
  type SparsitySchedule,
  selectionPolicy,
} from '@phsa/core'
import type { DecoderModel } from '@phsa/model'
import { type CheckpointOptions, type CheckpointPlan, planCheckpoints, requireResume } from './checkpoint/checkpoint-options.js'
import type { ResumeOptions } from './checkpoint/resume-checkpoint.js'
import { countRows } from './data/step-rows.js'
import { type LearningRateOptions, requireLearningRate } from './learning-rate.js'
import { requireInteger, requireRange } from './number-settings.js'
import { type LearnedLambdaOptions, requireLearnedLambda } from './step/learned-lambda.js'
import { type RecallOptions, requireRecall } from './step/step-recall.js'
import { requireWeightAverage, type WeightAverageOptions } from './step/weight-average.js'
import { requireAttention } from './step-attention.js'
import type { TrainingData } from './training-data.js'
import { requireValidation, type ValidationOptions } from './validation.js'

/** Size of one training step: sequences x tokens x accumulate. */
export interface BatchOptions {
  /** Rows a micro-batch: what is on the device at once. */
  readonly sequences: number
  /** Tokens a row. */
  readonly tokens: number
  /** Micro-batches a step, on each of the GPUs where there are several, whose gradients are summed: a larger step in the same memory. Default 1. */
  readonly accumulate?: number
}

/** AdamW, its clipping, and the learning rate over the run. */
export interface OptimizerOptions {
  /** Peak of the schedule; default 0.001. */
  readonly learningRate?: number
  /** Default 0.9. */
  readonly beta1?: number
  /** Default 0.95. */
  readonly beta2?: number
  /** Default 1e-8. */
  readonly epsilon?: number
  /** Decoupled; norms have none. Default 0.1. */
  readonly weightDecay?: number
  /** Gradients are scaled down to this norm; default 1. */
  readonly maxNorm?: number
  /** Default: a hundredth of the steps. */
  readonly warmupSteps?: number
  /** Default cosine; see `learningRateAt`. */
  readonly decay?: LearningRateOptions['decay']
  /** Share of the steps that fall, for `wsd` only; default 0.2. */
  readonly decayShare?: LearningRateOptions['decayShare']
  /** Rate of the last step over the peak; default 0.1. */
  readonly finalShare?: number
}

/** Block distillation in the stages that ask for it (spec 10). */
export interface DistillationOptions {
  /** Weight in the objective (spec 10); 0 for none. Default 1. */
  readonly coefficient?: number
  /** Query positions sampled a sequence; default 256. */
  readonly rowsPerSequence?: number
  /** `learned` teaches a lambda for each layer and KV head with this loss, from the configuration's on; for policy phsa. Default: it stays. */
  readonly lambda?: 'learned' | LearnedLambdaOptions
}

/** How long a run lasts: a number of steps, or of tokens, rounded up to whole rows: the last step then takes what is left of them. */
export type RunLength =
  | { readonly steps: number; readonly totalTokens?: undefined }
  | { readonly totalTokens: number; readonly steps?: undefined }

/** What a training run needs: model, data, batch and length; everything else has a default. */
export type TrainerOptions = RunLength & {
  /** Trained in place; its backend does the work. Both belong to the caller. */
  readonly model: DecoderModel
  readonly data: TrainingData
  readonly batch: BatchOptions
  /** Which tokens are punctuation; without it none is, and PHSA pools like mean-pool. */
  readonly punctuation?: PunctuationTable
  readonly optimizer?: OptimizerOptions
  /** Default: `defaultSchedule()`, dense for 80 % of the tokens, then topK 2 with distillation (spec 7). */
  readonly schedule?: SparsitySchedule
  readonly distillation?: DistillationOptions
  /** How sparse stages choose blocks: a policy or the name of one; `random` draws from the run's seed and the step. Default phsa. */
  readonly policy?: SelectionPolicy | string
  /** Decides the order of the data and the rows that are distilled; default 0. */
  readonly seed?: number
  readonly checkpoint?: CheckpointOptions
  /** Loss of held-out text every so many steps. */
  readonly validation?: ValidationOptions
  /** Attention-mass recall on a sample of the step's own tokens every so many steps. */
  readonly recall?: RecallOptions
  /** A moving average of the weights beside those that are trained, in checkpoints too. */
  readonly ema?: WeightAverageOptions
  /** Continues from a checkpoint: its folder, or the folder of several, whose newest is taken. Replaces the model's parameters. */
  readonly resume?: string | ResumeOptions
  /** File that gets one JSON object a step. */
  readonly log?: string
  /** Folder that gets event files for TensorBoard; the same rules as for `log`. */
  readonly tensorboard?: string
  /** Peak of one device in TFLOP/s, which the model FLOP utilisation is measured by. Default: that of the GPU, where it is known; then none is reported. */
  readonly peakTeraflops?: number
  /** Skipped steps in a row after which training gives up; default 5. */
  readonly maxSkips?: number
  /** Ends the run after the current step, with a checkpoint where they are on. */
  readonly signal?: AbortSignal
}

/** All options with their defaults, checked. */
export interface TrainerPlan {
  readonly steps: number
  /** Of all ranks; of the last step at most. */
  readonly tokensPerStep: number
  /** Of the whole run and all ranks. */
  readonly rows: number
  /** `accumulate` counts the micro-batches of all ranks: two of one are one of two. */
  readonly batch: Required<BatchOptions>
  readonly seed: number
  readonly maxSkips: number
  readonly learningRate: LearningRateOptions
  readonly optimizer: {
    readonly beta1: number
    readonly beta2: number
    readonly epsilon: number
    readonly weightDecay: number
    readonly maxNorm: number
  }
  readonly distillation: Required<Omit<DistillationOptions, 'lambda'>> & { readonly lambda: Required<LearnedLambdaOptions> | undefined }
  readonly policy: SelectionPolicy
  readonly schedule: SparsitySchedule
  readonly validation: Required<ValidationOptions> | undefined
  readonly recall: Required<RecallOptions> | undefined
  readonly ema: Required<WeightAverageOptions> | undefined
  readonly resume: ResumeOptions | undefined
  readonly checkpoint: CheckpointPlan | undefined
}

/** @throws InvalidConfigError naming the setting, its value and what is allowed */
export function planTraining(options: TrainerOptions): TrainerPlan {
  const { optimizer = {}, distillation = {}, checkpoint, policy = phsaPolicy, validation, resume } = options
  const { accumulate = 1 } = options.batch
  const batch = { ...options.batch, accumulate: accumulate * (options.model.backend.collective?.size ?? 1) }
  requireInteger('batch.sequences', batch.sequences, 1)
  requireInteger('batch.tokens', batch.tokens, 2)
  requireInteger('batch.accumulate', accumulate, 1)
  const longest = options.model.config.maxPositions
  if (batch.tokens > longest) {
    throw new InvalidConfigError(
      'batch.tokens',
      `batch.tokens is ${batch.tokens}; this model takes at most ${longest} (max_position_embeddings).`,
    )
  }
  requireVocabulary(options)
  const tokensPerStep = batch.sequences * batch.tokens * batch.accumulate
  const steps = countSteps(options, tokensPerStep)
  const chosen = typeof policy === 'string' ? selectionPolicy(policy) : policy
  const schedule = options.schedule ?? defaultSchedule()
  const { coefficient = 1, rowsPerSequence = 256, lambda } = distillation
  const teaching = { policy: chosen.name, hasPunctuation: options.punctuation !== undefined, coefficient, schedule }
  const requiredValidation = validation && requireValidation(validation, options.model)
  const plan: TrainerPlan = {
    steps,
    tokensPerStep,
    rows: countRows(options, batch, options.model.backend.collective?.size ?? 1),
    batch,
    seed: options.seed ?? 0,
    maxSkips: options.maxSkips ?? 5,
    learningRate: {
      peak: optimizer.learningRate ?? 1e-3,
      warmupSteps: optimizer.warmupSteps ?? Math.ceil(steps / 100),
      decay: optimizer.decay ?? 'cosine',
      decayShare: optimizer.decayShare,
      finalShare: optimizer.finalShare ?? 0.1,
      totalSteps: steps,
    },
    optimizer: {
      beta1: optimizer.beta1 ?? 0.9,
      beta2: optimizer.beta2 ?? 0.95,
      epsilon: optimizer.epsilon ?? 1e-8,
      weightDecay: optimizer.weightDecay ?? 0.1,
      maxNorm: optimizer.maxNorm ?? 1,
    },
    distillation: { coefficient, rowsPerSequence, lambda: lambda && requireLearnedLambda({ ...teaching, lambda }) },
    policy: chosen,
    schedule,
    validation: requiredValidation,
    recall: options.recall && requireRecall(options.recall),
    ema: options.ema && requireWeightAverage(options.ema, validation !== undefined),
    resume: typeof resume === 'string' ? { from: resume } : resume,
    checkpoint: checkpoint && planCheckpoints(checkpoint, { dtype: options.model.dtype, steps, validation: requiredValidation }),
  }
  requireInteger('seed', plan.seed, 0)
  requireInteger('maxSkips', plan.maxSkips, 1)
  requireInteger('distillation.rowsPerSequence', plan.distillation.rowsPerSequence, 1)
  requireRange('distillation.coefficient', plan.distillation.coefficient, 0, Number.MAX_VALUE)
  requireLearningRate(plan.learningRate)
  requireOptimizer(plan.optimizer)
  requireRange('peakTeraflops', options.peakTeraflops ?? 1, Number.MIN_VALUE, Number.MAX_VALUE)
  requireAttention(plan, options.model)
  if (plan.resume) requireResume(plan.resume, checkpoint)
  return plan
}

/** Data that does not know its largest id is checked by the model, batch by batch. */
function requireVocabulary({ data, model }: TrainerOptions): void {
  const { vocabSize } = model.config
  if (data.largestId === undefined || data.largestId < vocabSize) return
  throw new InvalidConfigError(
    'data',
    `the data has ids up to ${data.largestId}, this model takes 0 to ${vocabSize - 1}: tokenizer and model do not fit; tokenize with the model's own tokenizer, or train a model with a vocabSize of at least ${data.largestId + 1}.`,
  )
}

function countSteps({ steps, totalTokens }: RunLength, tokensPerStep: number): number {
  if ((steps === undefined) === (totalTokens === undefined)) {
    throw new InvalidConfigError(
      'steps',
      `${steps === undefined ? 'neither steps nor totalTokens is' : 'both steps and totalTokens are'} given; give one.`,
    )
  }
  if (steps !== undefined) requireInteger('steps', steps, 1)
  if (totalTokens !== undefined) requireInteger('totalTokens', totalTokens, 1)
  return steps ?? Math.ceil((totalTokens ?? 0) / tokensPerStep)
}

function requireOptimizer({ beta1, beta2, epsilon, weightDecay, maxNorm }: TrainerPlan['optimizer']): void {
  requireRange('beta1', beta1, 0, 0.999999)
  requireRange('beta2', beta2, 0, 0.999999)
  requireRange('epsilon', epsilon, Number.MIN_VALUE, 1)
  requireRange('weightDecay', weightDecay, 0, 1)
  requireRange('maxNorm', maxNorm, Number.MIN_VALUE, Number.POSITIVE_INFINITY)
}
