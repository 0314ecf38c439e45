import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { root, succeeds } from './command.mjs'

const report = join(root, 'node_modules/.cache/vitest-report.json')

/**
 * Runs all tests with coverage.
 *
 * @returns {{ ok: boolean, passed: number, failed: number, skipped: number }} all zero if the run broke off without a report
 */
export function runVitest() {
  // An earlier run's report must not stand in for this one.
  rmSync(report, { force: true })
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
  const ok = succeeds(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', '--coverage', ...reporters])
  if (!existsSync(report)) return { ok, passed: 0, failed: 0, skipped: 0 }
  const totals = JSON.parse(readFileSync(report, 'utf8'))
  return { ok, passed: totals.numPassedTests, failed: totals.numFailedTests, skipped: totals.numPendingTests + totals.numTodoTests }
}
