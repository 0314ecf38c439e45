import { attentionSpec, candidateBlocks, PackedLayout, type PolicyName, type RandomStream, sampleDistillationRows } from '@phsa/core'
import type { AttentionChoice, DecoderModel, DistillationChoice } from '@phsa/model'
import type { LearnedLambda } from './step/learned-lambda.js'
import type { TrainerPlan } from './trainer-options.js'
import type { PackedRow } from './training-data.js'

/** These choose blocks without representatives, so that there is nothing to distil. */
const WITHOUT_REPRESENTATIVES: ReadonlySet<PolicyName> = new Set(['dense', 'random', 'oracle'])

/** The distillation of one micro-batch. */
export interface MicroDistillation extends DistillationChoice {
  /** Part of the step's distillation loss that is this micro-batch's; they sum to 1. The coefficient has it as a factor. */
  readonly share: number
}

/** What decides the distillation of a step: its micro-batches, how they attend, and the stream that draws. */
export interface StepDistillationInput {
  readonly model: DecoderModel
  readonly plan: TrainerPlan
  readonly microBatches: readonly (readonly PackedRow[])[]
  readonly attention: AttentionChoice
  readonly random: RandomStream
  /** Where it is learned: what this loss teaches besides q and k. */
  readonly lambda?: LearnedLambda
}

/**
 * Rows to distil in each micro-batch of a step (spec 10): drawn one after the other, so they are those of one big batch. Undefined for policies
 * without representatives.
 *
 * The quotient of spec 10 is taken in each micro-batch: its divisor, the teacher's mass on candidate blocks, is known only after a forward of all
 * of them. They are averaged by what that mass is where attention is even, so a micro-batch without candidates weighs nothing.
 */
export function stepDistillation({
  model,
  plan,
  microBatches,
  attention: { policy, phsa },
  random,
  lambda,
}: StepDistillationInput): readonly MicroDistillation[] | undefined {
  const { coefficient, rowsPerSequence } = plan.distillation
  if (coefficient === 0 || WITHOUT_REPRESENTATIVES.has(policy.name)) return undefined
  // Every row counts, also below denseBelow.
  const spec = { ...attentionSpec(policy.configure(phsa), { ...model.config, dtype: model.dtype }), denseBelow: 0 }
  const drawn = microBatches.map((rows) => {
    const lengths = rows.flatMap(({ sequences }) => sequences.map(({ length }) => length))
    const layout = new PackedLayout(lengths, phsa.blockSize)
    const positions = layout.positions()
    const sampled = sampleDistillationRows(layout, rowsPerSequence, random)
    const evenMass = (row: number) => {
      const { start, end } = candidateBlocks(spec, positions[row])
      return ((end - start) * spec.blockSize) / (positions[row] + 1)
    }
    return { rows: sampled, mass: sampled.reduce((sum, row) => sum + evenMass(row), 0) }
  })
  const total = drawn.reduce((sum, { mass }) => sum + mass, 0)
  return drawn.map(({ rows, mass }) => {
    const share = total === 0 ? 1 / drawn.length : mass / total
    return { rows, share, coefficient: coefficient * share, ...(lambda && { dLambda: lambda.gradients }) }
  })
}
