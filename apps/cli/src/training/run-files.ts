import { join } from 'node:path'

/** Name of a run's step log in its folder. */
export const RUN_LOG = 'log.jsonl'
/** Name of a run's page in its folder. */
export const RUN_REPORT = 'report.html'
/** Name of the folder with event files for TensorBoard in a run's folder. */
export const RUN_TENSORBOARD = 'tensorboard'
/** Name, without its ending, of what is measured of the finished model. */
export const RUN_EVALUATION = 'evaluation'

/** Folder of a run's checkpoints. @param out the run's folder */
export function checkpointFolder(out: string): string {
  return join(out, 'checkpoints')
}
