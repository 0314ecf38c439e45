import { InvalidConfigError, RandomStream, type SchedulePoint } from '@phsa/core'
import type { AttentionChoice } from '@phsa/model'
import type { PreparedCheckpoints } from './checkpoint/prepare-checkpoints.js'
import { stepRows } from './data/step-rows.js'
import { learningRateAt } from './learning-rate.js'
import { Optimizer } from './optimizer.js'
import { RankGroup } from './parallel/rank-group.js'
import { requireSameParameters, requireSameStart } from './parallel/require-same-ranks.js'
import type { RunFiles, RunLog } from './run-files.js'
import { lossSpike, withLoss } from './step/loss-spike.js'
import { type StepRecall, stepRecall } from './step/step-recall.js'
import { attentionAt } from './step-attention.js'
import type { StepEvent } from './step-event.js'
import { StepRecorder } from './step-recorder.js'
import { planTraining, type TrainerOptions, type TrainerPlan } from './trainer-options.js'
import type { PackedRow, RowSource } from './training-data.js'
import { TrainingDivergedError } from './training-diverged-error.js'
import {
  type MeasuredValidation,
  type RunPosition,
  requireSameRun,
  requireStepsLeft,
  type TrainingRecord,
  trainingRecord,
} from './training-record.js'
import { type StepInput, trainingStep } from './training-step.js'
import { type ValidationResult, validate } from './validation.js'
import { Utilization } from './watching/utilization.js'

/** A training run: iterate it, once, and it trains a step for each event. */
export interface Trainer extends AsyncIterable<StepEvent> {
  /** Steps of the whole run, those before a resumed checkpoint included. */
  readonly steps: number
}

/** `createTrainer` with what there is for files. */
export function trainerOn(files: RunFiles, options: TrainerOptions): Trainer {
  const plan = planTraining(options)
  let started = false
  return {
    steps: plan.steps,
    [Symbol.asyncIterator]() {
      if (started)
        throw new InvalidConfigError('trainer', 'this trainer has been iterated already; create another one, with resume to continue.')
      started = true
      return train(files, options, plan)
    },
  }
}

async function* train(files: RunFiles, options: TrainerOptions, plan: TrainerPlan): AsyncGenerator<StepEvent, void, undefined> {
  // Before the optimizer's tensors: a longer rotary table belongs to the model.
  const validated = plan.validation?.batches.map(({ lengths }) => Math.max(...lengths)) ?? []
  options.model.reservePositions(Math.max(plan.batch.tokens, ...validated))
  const parts = { learnsLambda: plan.distillation.lambda !== undefined, averageDecay: plan.ema?.decay }
  const optimizer = new Optimizer(options.model, plan.optimizer, parts)
  try {
    const run = await TrainingRun.start(files, options, plan, optimizer)
    try {
      yield* run.events()
    } catch (error) {
      throw await files.whereToResume(error, plan.checkpoint)
    } finally {
      await run.release()
    }
  } finally {
    optimizer.dispose()
  }
}

class TrainingRun {
  readonly #files: RunFiles
  readonly #options: TrainerOptions
  readonly #plan: TrainerPlan
  readonly #optimizer: Optimizer
  readonly #recorder: StepRecorder
  readonly #log: RunLog | undefined
  readonly #utilization: Utilization
  readonly #rows: RowSource
  readonly #random: RandomStream
  readonly #group: RankGroup
  #position: RunPosition
  /** Of the last step, where it was measured. */
  #validation: MeasuredValidation | undefined
  #savedStep: number
  #claim: PreparedCheckpoints['claim']
  /** What is wrong with checkpoints newer than the resumed one; for the first event. */
  #passedOver: readonly string[] = []

  private constructor(
    files: RunFiles,
    options: TrainerOptions,
    plan: TrainerPlan,
    optimizer: Optimizer,
    position: RunPosition,
    log: RunLog | undefined,
  ) {
    this.#files = files
    this.#options = options
    this.#plan = plan
    this.#optimizer = optimizer
    this.#recorder = new StepRecorder(options.model, optimizer)
    this.#position = position
    this.#savedStep = position.step
    this.#log = log
    this.#utilization = new Utilization(options.model, options.peakTeraflops)
    this.#rows = options.data.rows({ sequenceTokens: plan.batch.tokens, seed: plan.seed })
    this.#random = new RandomStream(position.distillationRandom)
    this.#group = new RankGroup(options.model.backend)
  }

  /** Restores what is resumed and checks what will be written, before the first step. */
  static async start(files: RunFiles, options: TrainerOptions, plan: TrainerPlan, optimizer: Optimizer): Promise<TrainingRun> {
    const { model, data } = options
    const group = new RankGroup(model.backend)
    let position: RunPosition = { step: 0, updates: 0, tokens: 0, row: 0, distillationRandom: plan.seed, skips: 0, recentLosses: [] }
    const resumed = plan.resume && (await files.resumedCheckpoint(plan.resume))
    if (resumed) {
      requireSameRun(resumed.record, plan, data)
      requireStepsLeft(resumed.record, plan)
      await files.restoreCheckpoint(resumed, model, optimizer)
      const { step, updates, tokens, row, distillationRandom, skips, recentLosses, lambda } = resumed.record
      position = { step, updates, tokens, row, distillationRandom, skips, recentLosses, ...(lambda && { lambda }) }
      if (lambda && optimizer.lambda) optimizer.lambda.restore(lambda)
      // What was learned stays where it is learned no more.
      else if (lambda) model.reconfigure({ lambda: lambda.values })
    }
    // Not while another rank still looks for the checkpoint to resume from.
    await group.any(false)
    const prepared = group.isFirst ? await files.prepareCheckpoints(plan, model, optimizer, resumed?.record.step) : { setAside: [] }
    // A run that begins anew was stopped before its first checkpoint: a log that goes past that is of another run.
    const mostSteps = resumed === undefined ? plan.checkpoint?.every : undefined
    try {
      const log = group.isFirst ? await files.openLogs(options, plan, plan.resume && position.step, mostSteps) : undefined
      const run = new TrainingRun(files, options, plan, optimizer, position, log)
      run.#claim = prepared.claim
      run.#passedOver = [...(resumed?.passedOver ?? []), ...prepared.setAside]
      await requireSameStart(group, model, run.#record())
      return run
    } catch (error) {
      await prepared.claim?.release()
      throw error
    }
  }

  async *events(): AsyncGenerator<StepEvent, void, undefined> {
    const { signal } = this.#options
    let isOver = this.#group.isAlone && signal?.aborted === true
    while (this.#position.step < this.#plan.steps && !isOver) {
      const event = { ...(await this.#step()), ...(this.#passedOver.length > 0 && { passedOver: this.#passedOver }) }
      this.#passedOver = []
      await this.#claim?.require()
      await this.#log?.append(event)
      const isStopped = this.#group.isAlone && signal?.aborted
      const isDue = event.step === this.#plan.steps || isStopped || event.step % (this.#plan.checkpoint?.every ?? 1) === 0
      const checkpoint = isDue ? await this.#save() : undefined
      yield checkpoint === undefined ? event : { ...event, checkpoint }
      this.#requireProgress()
      // A signal on one rank stops all of them after the same step: the first one at least, so that each sees how far they came.
      isOver = await this.#group.any(signal?.aborted === true)
    }
    // The signal may have come while the last event was looked at.
    if (this.#position.step > this.#savedStep) await this.#save()
  }

  /** Frees what the run holds on the device and on the disk. */
  async release(): Promise<void> {
    this.#recorder.release()
    await this.#claim?.release()
  }

  async #step(): Promise<StepEvent> {
    const { model, punctuation } = this.#options
    const { step, updates, tokens, row, skips, recentLosses, lambda: learned } = this.#position
    const point = this.#pointAt(tokens)
    const learningRate = learningRateAt(step, this.#plan.learningRate)
    const started = performance.now()
    const input: StepInput = {
      model,
      punctuation,
      optimizer: this.#optimizer,
      plan: this.#plan,
      microBatches: stepRows(row, this.#plan, this.#group.size).map((window) => window.map((index) => this.#rowAt(index))),
      attention: this.#attentionAt(point, step),
      draw: step,
      distillation: point.distillation,
      learningRate,
      count: updates + 1,
      random: this.#random,
    }
    const result = await trainingStep(input, this.#recorder)
    const seconds = (performance.now() - started) / 1000
    const rowsTaken = input.microBatches.flat().length
    const tokensTaken = rowsTaken * this.#plan.batch.tokens
    const skipped = !Number.isFinite(result.gradientNorm)
    if (!skipped) this.#learnLambda(result.lambdaGradients, step)
    const { lambda } = this.#optimizer
    // What is learned no more is kept, so that it stays through the next resume too.
    const lambdaState = lambda?.state ?? learned
    this.#position = {
      step: step + 1,
      updates: skipped ? updates : updates + 1,
      tokens: tokens + tokensTaken,
      row: row + rowsTaken,
      distillationRandom: this.#random.state,
      skips: skipped ? skips + 1 : 0,
      recentLosses: withLoss(recentLosses, result.loss),
      ...(lambdaState && { lambda: lambdaState }),
    }
    const spike = lossSpike(result.loss, recentLosses)
    const recall = await this.#recall(point, input.microBatches.flat())
    const validation = await this.#validate(point)
    this.#validation = validation && { ...validation, topK: this.#topKAt(point) }
    return {
      step: step + 1,
      tokens: this.#position.tokens,
      loss: result.loss,
      ...(result.distillationLoss === undefined ? {} : { distillationLoss: result.distillationLoss }),
      gradientNorm: result.gradientNorm,
      learningRate,
      stage: point.stage,
      topK: this.#topKAt(point),
      tokensPerSecond: tokensTaken / seconds,
      ...this.#utilization.ofStep(input.microBatches, input.attention, seconds),
      skipped,
      ...(spike && { spike }),
      ...(lambda && { lambda: lambda.summary }),
      ...(recall && { recall }),
      ...(validation === undefined ? {} : { validation }),
    }
  }

  /** Where this step is one to validate after. Always with the same draw, so that policy `random` meets the same blocks each time. */
  async #validate(point: SchedulePoint): Promise<ValidationResult | undefined> {
    const { model } = this.#options
    const { validation, ema } = this.#plan
    if (!validation || !this.#isDue(validation.every)) return undefined
    // Its memory is needed; recording anew costs as much as queueing a step once.
    this.#recorder.release()
    const averaged = ema?.validate ? this.#optimizer.average?.model() : undefined
    try {
      return await validate(averaged ?? model, validation.batches, this.#attentionAt(point, 0))
    } finally {
      averaged?.dispose()
    }
  }

  /** Where this step is one to measure recall after. */
  async #recall(point: SchedulePoint, rows: readonly PackedRow[]): Promise<StepRecall | undefined> {
    const { model, punctuation } = this.#options
    if (!this.#plan.recall || !this.#isDue(this.#plan.recall.every)) return undefined
    this.#recorder.release()
    return stepRecall({ model, plan: this.#plan, punctuation, point, step: this.#position.step - 1, rows })
  }

  #isDue(every: number): boolean {
    const { step } = this.#position
    return step % every === 0 || step === this.#plan.steps
  }

  #attentionAt(point: SchedulePoint, draw: number): AttentionChoice {
    return attentionAt(point, this.#plan, this.#options.model, draw, this.#optimizer.lambda?.tensors)
  }

  #learnLambda(gradients: readonly Float64Array[] | undefined, step: number): void {
    const { distillation, learningRate, optimizer } = this.#plan
    if (!gradients || !distillation.lambda || !gradients.flatMap((row) => [...row]).every(Number.isFinite)) return
    const rate = learningRateAt(step, { ...learningRate, peak: distillation.lambda.learningRate })
    this.#optimizer.lambda?.update(gradients, rate, optimizer)
  }

  /** @throws InvalidConfigError for data that does not keep to the length it was asked for */
  #rowAt(index: number): PackedRow {
    const { tokens } = this.#plan.batch
    const row = this.#rows.row(index)
    const length = row.sequences.reduce((sum, sequence) => sum + sequence.length, 0)
    if (length === tokens) return row
    throw new InvalidConfigError(
      'data',
      `row ${index} of the data has ${length} tokens, batch.tokens is ${tokens}; the sequences of each row must sum to the sequenceTokens asked for.`,
    )
  }

  async #save(): Promise<string | undefined> {
    if (!this.#plan.checkpoint) return undefined
    const { model } = this.#options
    await requireSameParameters(this.#group, model, this.#position.step)
    this.#savedStep = this.#position.step
    // The other ranks wait for it at their next sum.
    if (!this.#group.isFirst) return undefined
    await this.#log?.sync()
    return this.#files.saveCheckpoint(this.#plan.checkpoint, { model, optimizer: this.#optimizer, record: this.#record() })
  }

  #record(): TrainingRecord {
    const point = this.#pointAt(this.#position.tokens)
    const measured = { stage: point.stage, topK: this.#topKAt(point), validation: this.#validation }
    return trainingRecord(this.#position, measured, this.#plan, this.#options.data)
  }

  #pointAt(tokens: number): SchedulePoint {
    return this.#plan.schedule.at(tokens, this.#plan.rows * this.#plan.batch.tokens)
  }

  #topKAt(point: SchedulePoint): number | 'dense' {
    return point.dense || this.#plan.policy.name === 'dense' ? 'dense' : point.topK
  }

  #requireProgress(): void {
    const { skips, step } = this.#position
    if (skips < this.#plan.maxSkips) return
    throw new TrainingDivergedError(
      `${skips} steps in a row up to step ${step} had a loss or gradient that is not finite, and changed nothing; lower learningRate, lengthen warmupSteps, or look for damaged data. Checkpoints written before are whole.`,
    )
  }
}
