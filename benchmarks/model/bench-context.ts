import type { ModelBackend } from '@phsa/core'
import type { CudaModelBackend, QueueTimer } from '@phsa/kernels-cuda'
import type { DecoderModel } from '@phsa/model'
import type { MatrixRate } from './matrix-rate.js'
import type { ModelPlan } from './model-plan.js'
import type { TimedBackend } from './timed-backend.js'

/** A backend of whole models on a GPU that can be measured. */
export type MeasurableBackend = ModelBackend & Pick<CudaModelBackend, 'createTimer' | 'deviceMemory'>

/** A model on a backend whose calls are timed. */
export interface TimedModel {
  readonly model: DecoderModel
  readonly timed: TimedBackend
}

/** What every measurement works with. */
export interface BenchContext {
  readonly plan: ModelPlan
  readonly backend: MeasurableBackend
  readonly timer: QueueTimer
  readonly rate: MatrixRate
  /** Steps are recorded where the backend can. */
  readonly recording: TimedModel
  /** The same parameters; nothing is recorded. */
  readonly plain: TimedModel
  /** Both once more: the same parameters, with recomputation. */
  readonly recomputing: Pick<BenchContext, 'recording' | 'plain'>
}
