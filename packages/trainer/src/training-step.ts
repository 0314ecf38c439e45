import {
  densePolicy,
  type HostArray,
  PackedLayout,
  type PolicyName,
  type PunctuationTable,
  type RandomStream,
  type SchedulePoint,
  sampleDistillationRows,
} from '@phsa/core'
import type { AttentionChoice, DecoderModel, TrainingBatch } from '@phsa/model'
import type { Optimizer } from './optimizer.js'
import type { TrainerPlan } from './trainer-options.js'
import { trainingBatch } from './training-batch.js'
import type { PackedRow } from './training-data.js'

/** Everything that one training step reads. */
export interface StepInput {
  readonly model: DecoderModel
  readonly optimizer: Optimizer
  readonly plan: TrainerPlan
  readonly punctuation?: PunctuationTable
  readonly rows: readonly PackedRow[]
  readonly point: SchedulePoint
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

/** These choose blocks without representatives, so that there is nothing to distil. */
const WITHOUT_REPRESENTATIVES: ReadonlySet<PolicyName> = new Set(['dense', 'random', 'oracle'])

/** Forward, backward, and one AdamW step; waits once, for the numbers of all three. */
export async function trainingStep(input: StepInput): Promise<StepResult> {
  const { model, optimizer, plan, rows, learningRate, count } = input
  const { memory } = model.backend
  const batch = trainingBatch(rows, input.punctuation)
  const attention = attentionAt(input.point, plan, model)
  const distillation = distillationRows(input, batch, attention)
  const measured = memory.scope(() => {
    optimizer.zeroGradients()
    const { loss, distillationLoss } = model.lossAndGradients(batch, attention, optimizer.gradients, distillation)
    const losses = distillationLoss ? [loss, distillationLoss] : [loss]
    return [optimizer.apply(learningRate, count, losses), ...losses]
  })
  try {
    // Queued together, so the device is waited for once.
    const [norm, loss, distilled] = await Promise.all(measured.map((tensor) => memory.download(tensor)))
    return { loss: loss[0], distillationLoss: (distilled as HostArray | undefined)?.[0], gradientNorm: norm[0] }
  } finally {
    for (const tensor of measured) tensor.dispose()
  }
}

/** How the layers attend at this point of the schedule (spec 7). */
export function attentionAt(point: SchedulePoint, plan: TrainerPlan, { phsa }: DecoderModel): AttentionChoice {
  return point.dense ? { policy: densePolicy, phsa } : { policy: plan.policy, phsa: { ...phsa, topK: point.topK } }
}

function distillationRows(
  { plan, point, random }: StepInput,
  { lengths }: TrainingBatch,
  { policy, phsa }: AttentionChoice,
): { coefficient: number; rows: Int32Array } | undefined {
  const { coefficient, rowsPerSequence } = plan.distillation
  if (!point.distillation || coefficient === 0 || WITHOUT_REPRESENTATIVES.has(policy.name)) return undefined
  return { coefficient, rows: sampleDistillationRows(new PackedLayout(lengths, phsa.blockSize), rowsPerSequence, random) }
}
