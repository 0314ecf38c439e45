import { stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ExitCode } from '../exit-code.js'
import { prepareFile } from '../files/prepare-folder.js'
import { writeRunReport } from '../report/run/write-run-report.js'
import { reportJson } from '../report-json.js'
import { RUN_LOG, RUN_REPORT } from '../training/run-files.js'

/** Options of `phsa report`. */
export interface ReportOptions {
  readonly out?: string
  readonly json?: boolean
}

/** Draws what a run's log.jsonl has so far. @param run folder of a run, or its log */
export async function runReportCommand(run: string, { out, json }: ReportOptions): Promise<ExitCode> {
  const log = (await isFolder(run)) ? join(run, RUN_LOG) : run
  const target = out ?? join(dirname(log), RUN_REPORT)
  await prepareFile(target)
  const { steps } = await writeRunReport(log, target)
  process.stdout.write(json ? reportJson({ report: target, step: steps }) : `${target}: through step ${steps}\n`)
  return ExitCode.ok
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}
