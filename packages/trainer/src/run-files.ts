import type { restoreCheckpoint } from './checkpoint/restore-checkpoint.js'
import type { resumedCheckpoint } from './checkpoint/resume-checkpoint.js'
import type { prepareCheckpoints, saveCheckpoint, whereToResume } from './checkpoint/run-checkpoints.js'
import type { TrainerOptions, TrainerPlan } from './trainer-options.js'
import type { RunLogs } from './watching/run-logs.js'

/** Where a run writes its steps down. */
export type RunLog = Pick<RunLogs, 'append' | 'sync'>

/** What a run does with files. On a disk it is `diskFiles`; a browser has `noFiles`. */
export interface RunFiles {
  readonly resumedCheckpoint: typeof resumedCheckpoint
  readonly restoreCheckpoint: typeof restoreCheckpoint
  readonly prepareCheckpoints: typeof prepareCheckpoints
  readonly saveCheckpoint: typeof saveCheckpoint
  readonly whereToResume: typeof whereToResume
  /** See `RunLogs.open`. */
  readonly openLogs: (options: TrainerOptions, plan: TrainerPlan, resumedAt?: number, mostSteps?: number) => Promise<RunLog>
}
