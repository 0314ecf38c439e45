import type { ModelBackend } from '@phsa/core'
import { DecoderModel } from '@phsa/model'
import { denseStart } from './dense-start.js'
import type { StudySession } from './study-session.js'
import { trainBranch } from './train-branch.js'

/** A sitting for one seed. */
export interface SeedRun extends Omit<StudySession, 'model'> {
  readonly backend: ModelBackend
  /** Branches to train; default all. */
  readonly branches?: readonly string[]
  /** Ends with the dense start. */
  readonly startOnly?: boolean
}

/**
 * Trains and measures the dense start of a seed and then its branches, in their order. What has a result is passed over, what was stopped is gone on with.
 * @throws the signal's reason, where it ends before all is done
 */
export async function runSeed({ backend, branches, startOnly, ...sitting }: SeedRun): Promise<void> {
  const { config, seed, signal } = sitting
  const model = DecoderModel.create({ config: config.model, dtype: config.dtype, backend, seed })
  try {
    const session: StudySession = { ...sitting, model }
    const start = await denseStart(session)
    if (startOnly) return
    for (const branch of config.branches) {
      if (branches && !branches.includes(branch.name)) continue
      signal.throwIfAborted()
      await trainBranch(session, branch, start)
    }
  } finally {
    model.dispose()
  }
}
