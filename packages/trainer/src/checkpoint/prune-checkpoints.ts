import { rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { bestCheckpoint } from './best-checkpoint.js'
import { checkpointName, listCheckpoints } from './checkpoint-folder.js'
import { syncToDisk } from './sync-to-disk.js'

/** How many checkpoints stay. */
export interface Retention {
  /** The newest ones. */
  readonly keep: number
  /** `validation`: the one with the lowest loss on the held-out text, too. */
  readonly best: 'validation' | 'none'
}

/**
 * Removes all checkpoints but the newest and the best. To be called when the newest is on the disk. Each loses its name first, and that for good, so
 * that neither a kill nor a power cut leaves a half-removed one under it.
 */
export async function pruneCheckpoints(folder: string, { keep, best }: Retention): Promise<void> {
  const doomed = (await listCheckpoints(folder)).slice(0, -keep)
  if (doomed.length === 0) return
  const kept = best === 'validation' ? await bestCheckpoint(folder) : undefined
  for (const { path, step } of doomed) {
    if (step === kept?.step) continue
    const unnamed = join(folder, `.${checkpointName(step)}.old`)
    await rename(path, unnamed)
    await syncToDisk(folder)
    await rm(unnamed, { recursive: true })
  }
}
