import type { Memory, PunctuationTable, RandomStream, Tensor } from '@phsa/core'
import type { AttentionChoice, DecoderModel } from '@phsa/model'
import { nextTurn } from './next-turn.js'
import type { Optimizer } from './optimizer.js'
import { GradientSums } from './parallel/gradient-sums.js'
import { RankGroup } from './parallel/rank-group.js'
import { microAttention } from './step-attention.js'
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
  /** Rows of each micro-batch, those of all ranks. */
  readonly microBatches: readonly (readonly PackedRow[])[]
  readonly attention: AttentionChoice
  /** Decides, with the run's seed, the blocks of policy `random`: the number of the step. */
  readonly draw: number
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
  /** Of a lambda that is learned, [Hkv] a layer; undefined where the step does not distil. */
  readonly lambdaGradients: readonly Float64Array[] | undefined
}

/**
 * Forward and backward of each micro-batch, then one AdamW step; waits once, for the numbers of all of it. Loss and gradients are sums over all
 * target tokens of the step over their total weight, however they are split. Of a micro-batch that is done only its losses stay on the device.
 *
 * In a group each rank takes its micro-batches, and gradients are summed over the ranks beside the backward pass of the last one, so that every rank takes
 * the same AdamW step from the same bits. Such steps are not recorded: no recording holds a sum over ranks, and one that ended before it would leave
 * nothing to go on beside it; a step that is worth several GPUs is long enough to hide its queueing.
 * @param recorder replays the step where it can
 */
export async function trainingStep(input: StepInput, recorder?: StepRecorder): Promise<StepResult> {
  const { model, optimizer, microBatches, attention, learningRate, count } = input
  const { memory } = model.backend
  const group = new RankGroup(model.backend)
  const own = group.own(microBatches.length)
  const total = targetWeight(microBatches.flat())
  const distillations = input.distillation ? stepDistillation({ ...input, lambda: optimizer.lambda }) : undefined
  const batches = own.map((index) => trainingBatch(microBatches[index], input.punctuation, total))
  optimizer.schedule(learningRate, count)
  const recorded = group.isAlone ? await recorder?.prepare({ attention, batches, distillations }) : undefined
  if (recorded) {
    recorded.replay()
    return downloadResult(optimizer, memory, recorded.result, group, distillations)
  }
  const sums = group.collective && new GradientSums(group.collective, optimizer.gradients)
  const losses: MicroLosses[] = []
  let norm: Tensor | undefined
  try {
    optimizer.zeroGradients()
    for (const [place, index] of own.entries()) {
      // Backends that compute on this thread never wait: let timers and signals through.
      await nextTurn()
      const onFinal = place === own.length - 1 ? (names: readonly string[]) => sums?.take(names) : undefined
      losses.push(
        memory.scope(() => {
          const { loss, distillationLoss } = model.lossAndGradients(
            batches[place],
            microAttention(attention, input.plan, input.draw, index),
            optimizer.gradients,
            distillations?.[index],
            onFinal,
          )
          return { loss, distillationLoss }
        }),
      )
    }
    norm = memory.scope(() => optimizer.apply(sums ? sums.finish(scalarsOf(losses), memory) : scalarsOf(losses)))
    return await downloadResult(optimizer, memory, { losses, norm }, group, distillations)
  } finally {
    for (const tensor of [...scalarsOf(losses), ...(norm ? [norm] : [])]) tensor.dispose()
  }
}

/** Queues all downloads together, so the device is waited for once. Losses of all ranks are added here, in the order of their micro-batches. */
async function downloadResult(
  { lambda }: Optimizer,
  memory: Memory,
  { losses, norm }: StepTensors,
  group: RankGroup,
  distillations: readonly MicroDistillation[] | undefined,
): Promise<StepResult> {
  const isDistilled = losses.some(({ distillationLoss }) => distillationLoss)
  const taught = isDistilled ? (lambda?.gradients ?? []) : []
  const [[gradientNorm], own, slopes] = await Promise.all([
    memory.download(norm),
    Promise.all(scalarsOf(losses).map((scalar) => memory.download(scalar))),
    Promise.all(taught.map((gradient) => memory.download(gradient))),
  ])
  const told = await group.gather([...own.map(([value]) => value), ...slopes.flatMap((values) => Array.from(values))])
  const slopeOf = (place: number) => told.reduce((sum, values) => sum + values[own.length + place], 0)
  const sumOf = (offset: number, factorOf: (micro: number) => number) => {
    const values = isDistilled ? 2 : 1
    let sum = 0
    for (let micro = 0; micro < losses.length * group.size; micro++) {
      sum += factorOf(micro) * told[micro % group.size][Math.floor(micro / group.size) * values + offset]
    }
    return sum
  }
  return {
    loss: sumOf(0, () => 1),
    distillationLoss: isDistilled ? sumOf(1, (micro) => distillations?.[micro].share ?? 0) : undefined,
    gradientNorm,
    lambdaGradients:
      taught.length === 0
        ? undefined
        : slopes.map((values, layer) => Float64Array.from(values, (_, head) => slopeOf(layer * values.length + head))),
  }
}
