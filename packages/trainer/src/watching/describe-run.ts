import type { DecoderModel } from '@phsa/model'
import type { TrainerPlan } from '../trainer-options.js'

/** What a run was asked to do, for readers: model, device and all settings with their defaults. Plain JSON. */
export function describeRun({ config, phsa, dtype, recompute, parameterCount, backend }: DecoderModel, plan: TrainerPlan): object {
  const { steps, tokensPerStep, batch, seed, policy, schedule, learningRate, optimizer, distillation } = plan
  const { otherEntries: _, generationEntries: __, ...shape } = config
  return {
    model: { ...shape, parameters: parameterCount, dtype, recompute },
    backend: { name: backend.name, device: backend.device, devices: backend.collective?.size ?? 1 },
    phsa,
    steps,
    tokensPerStep,
    batch,
    seed,
    policy: policy.name,
    schedule: schedule.toJSON(),
    learningRate,
    optimizer,
    distillation,
  }
}
