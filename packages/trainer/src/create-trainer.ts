import { diskFiles } from './disk-files.js'
import { type Trainer, trainerOn } from './trainer.js'
import type { TrainerOptions } from './trainer-options.js'

/**
 * A run over `data` that trains `model` in place. Nothing happens before the first event is asked for; then folders and the log are checked
 * before any work is done. Leaving the loop early frees everything without a checkpoint; the signal is the way to stop and save.
 * The iterator throws `TrainingDivergedError` after too many skipped steps in a row.
 * @throws InvalidConfigError naming the setting; UnsupportedError where the backend cannot do the attention of a stage
 */
export function createTrainer(options: TrainerOptions): Trainer {
  return trainerOn(diskFiles, options)
}
