import type { StepEvent } from '../step-event.js'
import type { Scalar } from './event-record.js'

/** The curves of a step, in TensorBoard's groups; what the step did not measure is left out, and so is topK where attention is dense. */
export function eventScalars(event: StepEvent): Scalar[] {
  const { validation, topK, recall, lambda } = event
  const curves: readonly (readonly [tag: string, value: number | undefined])[] = [
    ['train/loss', event.loss],
    ['train/distillation_loss', event.distillationLoss],
    ['train/gradient_norm', event.gradientNorm],
    ['train/learning_rate', event.learningRate],
    ['train/tokens', event.tokens],
    ['train/skipped', event.skipped ? 1 : 0],
    ['schedule/topK', topK === 'dense' ? undefined : topK],
    ['schedule/stage', event.stage],
    ['speed/tokens_per_second', event.tokensPerSecond],
    ['speed/mfu', event.mfu],
    ['recall/mean', recall?.mean],
    ['lambda/mean', lambda?.mean],
    ['lambda/min', lambda?.min],
    ['lambda/max', lambda?.max],
    ['validation/loss', validation?.loss],
    ['validation/perplexity', validation?.perplexity],
  ]
  return curves.filter((curve): curve is Scalar => curve[1] !== undefined)
}
