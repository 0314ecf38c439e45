import { InvalidConfigError, RandomStream, type SchedulePoint } from '@phsa/core'
import { checkpointBytes, readRecord, restoreCheckpoint, writeCheckpoint } from './checkpoint.js'
import { findCheckpoint, newestCheckpoint, prepareCheckpointFolder, pruneCheckpoints, requireTokenizer } from './checkpoint-folder.js'
import { learningRateAt } from './learning-rate.js'
import { Optimizer } from './optimizer.js'
import { attentionAt } from './step-attention.js'
import type { StepEvent } from './step-event.js'
import { StepLog } from './step-log.js'
import { StepRecorder } from './step-recorder.js'
import { planTraining, type TrainerOptions, type TrainerPlan } from './trainer-options.js'
import type { PackedRow, RowSource } from './training-data.js'
import { TrainingDivergedError } from './training-diverged-error.js'
import { type RunPosition, requireSameRun, requireStepsLeft, trainingRecord } from './training-record.js'
import { type StepInput, trainingStep } from './training-step.js'
import { type ValidationResult, validate } from './validation.js'

/** A training run: iterate it, once, and it trains a step for each event. */
export interface Trainer extends AsyncIterable<StepEvent> {
  /** Steps of the whole run, those before a resumed checkpoint included. */
  readonly steps: number
}

/**
 * A run over `data` that trains `model` in place. Nothing happens before the first event is asked for; then folders and the log are checked
 * before any work is done. Leaving the loop early frees everything without a checkpoint; the signal is the way to stop and save.
 * The iterator throws `TrainingDivergedError` after too many skipped steps in a row.
 * @throws InvalidConfigError naming the setting
 */
export function createTrainer(options: TrainerOptions): Trainer {
  const plan = planTraining(options)
  let started = false
  return {
    steps: plan.steps,
    [Symbol.asyncIterator]() {
      if (started)
        throw new InvalidConfigError('trainer', 'this trainer has been iterated already; create another one, with resume to continue.')
      started = true
      return train(options, plan)
    },
  }
}

async function* train(options: TrainerOptions, plan: TrainerPlan): AsyncGenerator<StepEvent, void, undefined> {
  // Before the optimizer's tensors: a longer rotary table belongs to the model.
  const validated = plan.validation?.batches.flatMap(({ lengths }) => lengths) ?? []
  options.model.reservePositions(Math.max(plan.batch.tokens, ...validated))
  const optimizer = new Optimizer(options.model, plan.optimizer)
  try {
    const run = await TrainingRun.start(options, plan, optimizer)
    try {
      yield* run.events()
    } finally {
      run.release()
    }
  } finally {
    optimizer.dispose()
  }
}

class TrainingRun {
  readonly #options: TrainerOptions
  readonly #plan: TrainerPlan
  readonly #optimizer: Optimizer
  readonly #recorder: StepRecorder
  readonly #log: StepLog | undefined
  readonly #rows: RowSource
  readonly #random: RandomStream
  #position: RunPosition
  #savedStep: number

  private constructor(options: TrainerOptions, plan: TrainerPlan, optimizer: Optimizer, position: RunPosition, log: StepLog | undefined) {
    this.#options = options
    this.#plan = plan
    this.#optimizer = optimizer
    this.#recorder = new StepRecorder(options.model, optimizer)
    this.#position = position
    this.#savedStep = position.step
    this.#log = log
    this.#rows = options.data.rows({ sequenceTokens: plan.batch.tokens, seed: plan.seed })
    this.#random = new RandomStream(position.distillationRandom)
  }

  /** Restores what is resumed and checks what will be written, before the first step. */
  static async start(options: TrainerOptions, plan: TrainerPlan, optimizer: Optimizer): Promise<TrainingRun> {
    const { model, data } = options
    let position: RunPosition = { step: 0, updates: 0, tokens: 0, row: 0, distillationRandom: plan.seed, skips: 0 }
    const path = plan.resume && (await (plan.resume.orStart ? newestCheckpoint : findCheckpoint)(plan.resume.from))
    if (path !== undefined) {
      const record = await readRecord(path)
      requireSameRun(record, plan, data)
      requireStepsLeft(record, plan)
      await restoreCheckpoint(path, model, optimizer)
      const { step, updates, tokens, row, distillationRandom, skips } = record
      position = { step, updates, tokens, row, distillationRandom, skips }
    }
    if (plan.checkpoint) {
      const { folder, every, keep, tokenizerFrom } = plan.checkpoint
      const count = Math.min(keep + 1, Math.ceil((plan.steps - position.step) / every))
      if (tokenizerFrom !== undefined) await requireTokenizer(tokenizerFrom)
      await prepareCheckpointFolder(folder, position.step, count * checkpointBytes(model))
    }
    // A run that begins anew was stopped before its first checkpoint: a log that goes past that is of another run.
    const mostSteps = path === undefined ? plan.checkpoint?.every : undefined
    const log = options.log === undefined ? undefined : await StepLog.open(options.log, plan.resume && position.step, mostSteps)
    return new TrainingRun(options, plan, optimizer, position, log)
  }

  async *events(): AsyncGenerator<StepEvent, void, undefined> {
    const { signal } = this.#options
    while (this.#position.step < this.#plan.steps && !signal?.aborted) {
      const event = await this.#step()
      await this.#log?.append(event)
      const isDue = event.step === this.#plan.steps || signal?.aborted || event.step % (this.#plan.checkpoint?.every ?? 1) === 0
      const checkpoint = isDue ? await this.#save() : undefined
      yield checkpoint === undefined ? event : { ...event, checkpoint }
      this.#requireProgress()
    }
    // The signal may have come while the last event was looked at.
    if (this.#position.step > this.#savedStep) await this.#save()
  }

  /** Frees what the run holds on the device. */
  release(): void {
    this.#recorder.release()
  }

  async #step(): Promise<StepEvent> {
    const { model, punctuation } = this.#options
    const { sequences, accumulate } = this.#plan.batch
    const { step, updates, tokens, row, skips } = this.#position
    const point = this.#pointAt(tokens)
    const learningRate = learningRateAt(step, this.#plan.learningRate)
    const started = performance.now()
    const input: StepInput = {
      model,
      punctuation,
      optimizer: this.#optimizer,
      plan: this.#plan,
      microBatches: Array.from({ length: accumulate }, (_, micro) =>
        Array.from({ length: sequences }, (_, index) => this.#rowAt(row + micro * sequences + index)),
      ),
      attention: attentionAt(point, this.#plan, model, step),
      distillation: point.distillation,
      learningRate,
      count: updates + 1,
      random: this.#random,
    }
    const result = await trainingStep(input, this.#recorder)
    const seconds = (performance.now() - started) / 1000
    const skipped = !Number.isFinite(result.gradientNorm)
    this.#position = {
      step: step + 1,
      updates: skipped ? updates : updates + 1,
      tokens: tokens + this.#plan.tokensPerStep,
      row: row + sequences * accumulate,
      distillationRandom: this.#random.state,
      skips: skipped ? skips + 1 : 0,
    }
    const validation = await this.#validate(point)
    return {
      step: step + 1,
      tokens: this.#position.tokens,
      loss: result.loss,
      ...(result.distillationLoss === undefined ? {} : { distillationLoss: result.distillationLoss }),
      gradientNorm: result.gradientNorm,
      learningRate,
      stage: point.stage,
      topK: this.#topKAt(point),
      tokensPerSecond: this.#plan.tokensPerStep / seconds,
      skipped,
      ...(validation === undefined ? {} : { validation }),
    }
  }

  /** Where this step is one to validate after. Always with the same draw, so that policy `random` meets the same blocks each time. */
  async #validate(point: SchedulePoint): Promise<ValidationResult | undefined> {
    const { model } = this.#options
    const { validation, steps } = this.#plan
    const { step } = this.#position
    if (!validation || (step % validation.every !== 0 && step !== steps)) return undefined
    // Its memory is needed; recording anew costs as much as queueing a step once.
    this.#recorder.release()
    return validate(model, validation.batches, attentionAt(point, this.#plan, model, 0))
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
    const { folder, keep, tokenizerFrom } = this.#plan.checkpoint
    const { model, data } = this.#options
    const point = this.#pointAt(this.#position.tokens)
    const record = trainingRecord(this.#position, { stage: point.stage, topK: this.#topKAt(point) }, this.#plan, data)
    await this.#log?.sync()
    const path = await writeCheckpoint(folder, { model, optimizer: this.#optimizer, record, tokenizerFrom })
    await pruneCheckpoints(folder, keep)
    this.#savedStep = this.#position.step
    return path
  }

  #pointAt(tokens: number): SchedulePoint {
    return this.#plan.schedule.at(tokens, this.#plan.steps * this.#plan.tokensPerStep)
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
