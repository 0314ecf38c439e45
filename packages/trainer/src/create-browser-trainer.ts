import { noFiles } from './no-files.js'
import { type Trainer, trainerOn } from './trainer.js'
import type { TrainerOptions } from './trainer-options.js'

/** `createTrainer` where there are no files: the same steps to the same losses; `log`, `tensorboard`, `checkpoint` and `resume` are refused. */
export function createTrainer(options: TrainerOptions): Trainer {
  return trainerOn(noFiles, options)
}
