import { listCheckpoints } from '@phsa/trainer'
import { explainError } from '../describe-error.js'
import { checkpointFolder } from './run-files.js'
import { StoppedRunError } from './stopped-run-error.js'

/**
 * What to say of an error in the middle of a run: its reason, and which checkpoint the same command goes on with.
 * @returns the error itself where nobody expects it, after the way to go on was said on stderr
 */
export async function stoppedRun(error: unknown, out: string): Promise<unknown> {
  const remedy = await wayOn(out)
  const reason = explainError(error)
  if (reason !== undefined) return new StoppedRunError(`${reason}\n${remedy}`, { cause: error })
  process.stderr.write(`phsa: the run stopped. ${remedy}\n`)
  return error
}

async function wayOn(out: string): Promise<string> {
  try {
    const newest = (await listCheckpoints(checkpointFolder(out))).at(-1)
    if (newest) return `To go on after step ${newest.step}, whose checkpoint is whole: the same command with --resume.`
    return 'There is no checkpoint yet; to begin anew: the same command with --resume-or-start.'
  } catch (error) {
    // The run's own error must not be lost behind this one.
    return `Its checkpoints cannot be listed now (${(error as Error).message}); to go on with the newest: the same command with --resume.`
  }
}
