import { restoreCheckpoint } from './checkpoint/restore-checkpoint.js'
import { resumedCheckpoint } from './checkpoint/resume-checkpoint.js'
import { prepareCheckpoints, saveCheckpoint, whereToResume } from './checkpoint/run-checkpoints.js'
import type { RunFiles } from './run-files.js'
import { RunLogs } from './watching/run-logs.js'

/** Checkpoints and logs on this machine's disks. */
export const diskFiles: RunFiles = {
  resumedCheckpoint,
  restoreCheckpoint,
  prepareCheckpoints,
  saveCheckpoint,
  whereToResume,
  openLogs: (...run) => RunLogs.open(...run),
}
