import {
  attentionSpec,
  densePolicy,
  RandomStream,
  randomPolicy,
  type SchedulePoint,
  type SelectionPolicy,
  type Tensor,
  UnsupportedError,
} from '@phsa/core'
import type { AttentionChoice, DecoderModel } from '@phsa/model'
import type { TrainerPlan } from './trainer-options.js'

/**
 * How the layers attend at a point of the schedule (spec 7).
 * @param draw decides, with the run's seed, the blocks of policy `random`
 * @param lambda f32 [Hkv] a layer, where it is learned
 */
export function attentionAt(
  point: SchedulePoint,
  plan: TrainerPlan,
  { phsa }: DecoderModel,
  draw: number,
  lambda?: readonly Tensor[],
): AttentionChoice {
  if (point.dense) return { policy: densePolicy, phsa }
  return { policy: drawnPolicy(plan, draw), phsa: { ...phsa, topK: point.topK }, ...(lambda && { lambda }) }
}

/** The same for one micro-batch of a step: policy `random` has draws of its own for each, so that they do not depend on how many GPUs share the step. */
export function microAttention(attention: AttentionChoice, plan: TrainerPlan, draw: number, micro: number): AttentionChoice {
  return attention.policy.name === 'random' ? { ...attention, policy: drawnPolicy(plan, draw, micro) } : attention
}

/**
 * Checks, before the first step, what would otherwise stop a run at its first sparse one, most of the way through.
 * @throws InvalidConfigError where policy and configuration do not go together; UnsupportedError where the backend cannot
 */
export function requireAttention({ policy, schedule }: Pick<TrainerPlan, 'policy' | 'schedule'>, model: DecoderModel): void {
  const { backend, config, dtype, phsa } = model
  for (const stage of schedule.stages) {
    if (stage.kind === 'dense') continue
    const topK = typeof stage.topK === 'number' ? stage.topK : stage.topK.from
    const support = backend.supports(policy.spec(attentionSpec(policy.configure({ ...phsa, topK }), { ...config, dtype })))
    if (!support.ok) throw new UnsupportedError('attention-spec', `${backend.name}: ${support.reason}`)
  }
}

/** A stream for each draw instead of one for the run: so a resumed run draws what the unbroken one does, and a validation takes nothing from it. */
function drawnPolicy({ policy, seed }: TrainerPlan, draw: number, micro = 0): SelectionPolicy {
  if (policy.name !== 'random') return policy
  return randomPolicy(new RandomStream(seed ^ Math.imul(draw + 1, 0x9e3779b1) ^ Math.imul(micro, 0x85ebca6b)).integer())
}
