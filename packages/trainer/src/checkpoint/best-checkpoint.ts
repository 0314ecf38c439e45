import { isPhsaError } from '@phsa/core'
import type { MeasuredValidation, TrainingRecord } from '../training-record.js'
import { type FoundCheckpoint, listCheckpoints } from './checkpoint-folder.js'
import { readRecord } from './read-record.js'

/**
 * The best of a folder's checkpoints, found by their records, so that no pointer to it can be wrong: the lowest validation loss among those measured
 * with the topK of the newest measured one. Removing others than it and the newest changes nothing of the answer.
 */
export async function bestCheckpoint(folder: string): Promise<FoundCheckpoint | undefined> {
  let best: (FoundCheckpoint & Pick<MeasuredValidation, 'topK' | 'loss'>) | undefined
  for (const found of await listCheckpoints(folder)) {
    const { loss, topK } = (await recordOf(found))?.validation ?? {}
    if (loss === undefined || topK === undefined || !Number.isFinite(loss)) continue
    if (best === undefined || best.topK !== topK || loss < best.loss) best = { ...found, topK, loss }
  }
  return best && { step: best.step, path: best.path }
}

/** Undefined where the record is damaged: that checkpoint is no candidate. */
async function recordOf({ path }: FoundCheckpoint): Promise<TrainingRecord | undefined> {
  try {
    return await readRecord(path)
  } catch (error) {
    if (isPhsaError(error, 'invalid-file')) return undefined
    throw error
  }
}
