import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Memory, PunctuationTable, RandomStream, Tensor } from '@phsa/core'
import type { AttentionChoice, DecoderModel } from '@phsa/model'
import type { Optimizer } from './optimizer.js'
import { type MicroDistillation, stepDistillation } from './step-distillation.js'
import { type MicroLosses, type StepRecorder, type StepTensors, scalarsOf } from './step-recorder.js'
import type { TrainerPlan } from './trainer-options.js'
import { targetWeight, trainingBatch } from './training-batch.js'
import type { PackedRow } from './training-data.js'

/** Everything that one training step reads. */
export interface StepInput {
  readonly model: DecoderModel
  readonly optimizer: Optimizer
  readonly plan: TrainerPlan
  readonly punctuation?: PunctuationTable
  /** Rows of each micro-batch. */
  readonly microBatches: readonly (readonly PackedRow[])[]
  readonly attention: AttentionChoice
  /** Whether the stage distils (spec 7). */
  readonly distillation: boolean
  readonly learningRate: number
  /** Steps taken, skipped ones left out and this one included. */
  readonly count: number
  readonly random: RandomStream
}

/** The numbers of one training step, on the host. */
export interface StepResult {
  readonly loss: number
  readonly distillationLoss: number | undefined
  /** Not finite where the step was skipped. */
  readonly gradientNorm: number
}

/**
 * Forward and backward of each micro-batch, then one AdamW step; waits once, for the numbers of all of it. Loss and gradients are sums over all
 * target tokens of the step over their total weight, however they are split. Of a micro-batch that is done only its losses stay on the device.
 * @param recorder replays the step where it can
 */
export async function trainingStep(input: StepInput, recorder?: StepRecorder): Promise<StepResult> {
  const { model, optimizer, microBatches, attention, learningRate, count } = input
  const { memory } = model.backend
  const total = targetWeight(microBatches.flat())
  const distillations = input.distillation ? stepDistillation(input) : undefined
  const batches = microBatches.map((rows) => trainingBatch(rows, input.punctuation, total))
  optimizer.schedule(learningRate, count)
  const recorded = await recorder?.prepare({ attention, batches, distillations })
  if (recorded) {
    recorded.replay()
    return downloadResult(memory, recorded.result, distillations)
  }
  const losses: MicroLosses[] = []
  let norm: Tensor | undefined
  try {
    optimizer.zeroGradients()
    for (const [index, batch] of batches.entries()) {
      // Backends that compute on this thread never wait: let timers and signals through.
      await nextTurn()
      losses.push(
        memory.scope(() => {
          const { loss, distillationLoss } = model.lossAndGradients(batch, attention, optimizer.gradients, distillations?.[index])
          return { loss, distillationLoss }
        }),
      )
    }
    norm = memory.scope(() => optimizer.apply(scalarsOf(losses)))
    return await downloadResult(memory, { losses, norm }, distillations)
  } finally {
    for (const tensor of [...scalarsOf(losses), ...(norm ? [norm] : [])]) tensor.dispose()
  }
}

/** Queues all downloads together, so the device is waited for once. */
async function downloadResult(
  memory: Memory,
  { losses, norm }: StepTensors,
  distillations: readonly MicroDistillation[] | undefined,
): Promise<StepResult> {
  const downloadSum = async (scalars: readonly Tensor[], factorOf: (index: number) => number) => {
    const values = await Promise.all(scalars.map((scalar) => memory.download(scalar)))
    return values.reduce((sum, [value], index) => sum + factorOf(index) * value, 0)
  }
  const distilled = losses.flatMap(({ distillationLoss }) => distillationLoss ?? [])
  const [[gradientNorm], loss, distillationLoss] = await Promise.all([
    memory.download(norm),
    downloadSum(
      losses.map((part) => part.loss),
      () => 1,
    ),
    downloadSum(distilled, (index) => distillations?.[index].share ?? 0),
  ])
  return { loss, distillationLoss: distilled.length > 0 ? distillationLoss : undefined, gradientNorm }
}
