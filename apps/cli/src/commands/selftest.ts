import { casePattern, conformanceCases, countsText, failureText, runConformance } from '@phsa/core/testing'
import { backends } from '../backends.js'
import { ExitCode } from '../exit-code.js'
import { reportJson } from '../report-json.js'
import { formatDuration } from '../terminal/format.js'
import { startProgress } from '../terminal/progress.js'
import { UsageError } from '../usage-error.js'

export interface SelftestOptions {
  readonly backend?: string
  readonly filter?: string
  readonly json?: boolean
}

/** The conformance suite of core on one backend; exit code 1 when a case fails, 3 when the backend is not available. */
export async function runSelftest({ backend = 'tfjs', filter, json }: SelftestOptions): Promise<ExitCode> {
  const entry = backends.find(({ name }) => name === backend)
  if (!entry) throw new UsageError(`there is no backend ${backend}; there are ${backends.map(({ name }) => name).join(', ')}.`)
  const started = Date.now()
  const names = conformanceCases().map(({ name }) => name)
  const chosen = filter === undefined ? names : names.filter(casePattern(filter))
  if (chosen.length === 0) {
    throw new UsageError(`no case matches ${JSON.stringify(filter)}; names look like ${names[0]}, and * stands for any characters.`)
  }
  const progress = startProgress({ label: `selftest ${backend}`, total: chosen.length })
  let done = 0
  let failures = 0
  const report = await runConformance({
    name: backend,
    create: entry.create,
    filter,
    onResult(result) {
      done++
      if (result.outcome === 'failed') failures++
      progress.update(done, failures === 0 ? result.name : `${failures} failed`)
    },
  })
  progress.stop()
  if (json) {
    process.stdout.write(reportJson(report))
  } else {
    const { verdict, device, reason } = report
    for (const result of report.cases) if (result.outcome === 'failed') process.stdout.write(`${failureText(result)}\n`)
    for (const [why, count] of Object.entries(report.skipReasons)) process.stdout.write(`skipped ${count}: ${why}\n`)
    process.stdout.write(`${backend}${device ? ` (${device})` : ''}: ${verdict}${reason ? `: ${reason}` : ''}\n`)
    process.stdout.write(`${countsText(report)} in ${formatDuration((Date.now() - started) / 1000)}\n`)
  }
  if (report.verdict === 'unavailable') return ExitCode.backendUnavailable
  return report.verdict === 'passed' ? ExitCode.ok : ExitCode.checkFailed
}
