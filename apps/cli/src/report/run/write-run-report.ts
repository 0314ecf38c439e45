import { readFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { writeWholeFile } from '../../files/write-whole-file.js'
import { RESOLVED_CONFIG } from '../../training-config/resume-changes.js'
import { runReport } from './run-report.js'
import { readSteps } from './run-steps.js'

/**
 * Draws the log of a run, which may still go on or have been killed.
 * @param target the page; replaced as a whole
 * @throws UsageError for a log that is not there or no step log
 */
export async function writeRunReport(log: string, target: string): Promise<{ readonly steps: number }> {
  const steps = await readSteps(log)
  const folder = dirname(resolve(log))
  const page = runReport(basename(folder), steps, await configurationIn(folder))
  await writeWholeFile(target, page)
  return { steps: steps[steps.length - 1].step }
}

/** The configuration that `phsa train` left beside the log; not every log has one. */
async function configurationIn(folder: string): Promise<string | undefined> {
  try {
    return await readFile(join(folder, RESOLVED_CONFIG), 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
