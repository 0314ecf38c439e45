import { densePolicy, RandomStream, randomPolicy, type SchedulePoint, type SelectionPolicy } from '@phsa/core'
import type { AttentionChoice, DecoderModel } from '@phsa/model'
import type { TrainerPlan } from './trainer-options.js'

/**
 * How the layers attend at a point of the schedule (spec 7).
 * @param draw decides, with the run's seed, the blocks of policy `random`
 */
export function attentionAt(point: SchedulePoint, plan: TrainerPlan, { phsa }: DecoderModel, draw: number): AttentionChoice {
  if (point.dense) return { policy: densePolicy, phsa }
  return { policy: drawnPolicy(plan, draw), phsa: { ...phsa, topK: point.topK } }
}

/** A stream for each draw instead of one for the run: so a resumed run draws what the unbroken one does, and a validation takes nothing from it. */
function drawnPolicy({ policy, seed }: TrainerPlan, draw: number): SelectionPolicy {
  if (policy.name !== 'random') return policy
  return randomPolicy(new RandomStream(seed ^ Math.imul(draw + 1, 0x9e3779b1)).integer())
}
