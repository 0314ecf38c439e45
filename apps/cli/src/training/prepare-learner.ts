import type { ModelBackend } from '@phsa/core'
import { createModel, type DecoderModel, loadModel } from '@phsa/model'
import type { TrainPlan } from '../training-config/train-plan.js'

/** Loads or makes the model of a run. The caller disposes it. @throws what `loadModel` throws */
export async function prepareLearner({ config, model: planned }: TrainPlan, backend: ModelBackend): Promise<DecoderModel> {
  const { run, dtype, seed, recompute } = config
  const { decoder, phsa } = planned
  if (run.model === undefined) return createModel({ config: decoder, backend, phsa, dtype, recompute, seed })
  const { model } = await loadModel(run.model, { backend, phsa, dtype, recompute })
  return model
}
