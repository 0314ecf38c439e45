import type { StepEvent, Trainer } from '@phsa/trainer'
import type { Interruption } from '../interruption.js'
import { startProgress } from '../terminal/progress.js'
import { StepNote } from './step-note.js'

/**
 * Runs a trainer to its end, or to an interruption, behind a progress bar.
 * @param onStep called after each step, and waited for
 * @returns the last event; undefined where no step was left
 */
export async function followTraining(
  trainer: Trainer,
  steps: number,
  interruption: Interruption,
  onStep?: (event: StepEvent) => void | Promise<void>,
): Promise<StepEvent | undefined> {
  const progress = startProgress({ label: 'training', total: steps, steady: true })
  const note = new StepNote()
  let last: StepEvent | undefined
  try {
    for await (const event of trainer) {
      last = event
      await onStep?.(event)
      progress.update(event.step, note.of(event))
      await interruption.breathe()
    }
  } finally {
    progress.stop()
  }
  return last
}
