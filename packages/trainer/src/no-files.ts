import { InvalidConfigError } from '@phsa/core'
import type { RunFiles } from './run-files.js'

/** A run that leaves nothing on a disk: what would need one is refused before the first step. */
export const noFiles: RunFiles = {
  resumedCheckpoint: async () => refuse('resume'),
  restoreCheckpoint: async () => refuse('resume'),
  prepareCheckpoints: async ({ checkpoint }) => (checkpoint ? refuse('checkpoint') : { setAside: [] }),
  saveCheckpoint: async () => refuse('checkpoint'),
  whereToResume: async (error) => error,
  async openLogs({ log, tensorboard }) {
    if (log !== undefined) refuse('log')
    if (tensorboard !== undefined) refuse('tensorboard')
    return { append: async () => {}, sync: async () => {} }
  },
}

function refuse(setting: string): never {
  throw new InvalidConfigError(
    setting,
    `${setting} needs files, which a browser does not have; leave it out, and take what should stay from the events and the model.`,
  )
}
