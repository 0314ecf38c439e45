import type { StepEvent, Trainer } from '@phsa/trainer'
import type { Interruption } from '../interruption.js'
import { formatCount } from '../terminal/format.js'
import { startProgress } from '../terminal/progress.js'

/**
 * Runs a trainer to its end, or to an interruption, behind a progress bar.
 * @param onStep called after each step
 * @returns the events of its steps
 */
export async function followTraining(
  trainer: Trainer,
  steps: number,
  interruption: Interruption,
  onStep?: (event: StepEvent) => void,
): Promise<StepEvent[]> {
  const progress = startProgress({ label: 'training', total: steps })
  const events: StepEvent[] = []
  try {
    for await (const event of trainer) {
      events.push(event)
      onStep?.(event)
      progress.update(event.step, describeStep(event))
      await interruption.breathe()
    }
  } finally {
    progress.stop()
  }
  return events
}

function describeStep({ loss, distillationLoss, topK, tokensPerSecond, skipped, validation }: StepEvent): string {
  const distilled = distillationLoss === undefined ? '' : ` distil ${distillationLoss.toFixed(3)}`
  const validated = validation === undefined ? '' : ` | validation perplexity ${validation.perplexity.toFixed(2)}`
  const attention = topK === 'dense' ? 'dense' : `topK ${topK}`
  return `loss ${loss.toFixed(3)}${distilled}${validated} | ${attention} | ${formatCount(tokensPerSecond)} tokens/s${skipped ? ' | skipped' : ''}`
}
