import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { root, succeeds } from './command.mjs'

/** @typedef {{ ok: boolean, passed: number, failed: number, skipped: number }} Totals all zero if the run broke off without a report */

// Coverage makes the conformance suites several times slower and tells nothing there: they run without it.
const SUITES = ['**/conformance.test.ts', '**/mutations/**']

/**
 * Runs all tests: core's own with coverage, all others and the suites without.
 *
 * @returns {Totals}
 */
export function runVitest() {
  const withoutSuites = SUITES.flatMap((glob) => ['--exclude', glob])
  const core = runPart('core', ['--project', 'core', '--coverage', ...withoutSuites])
  const others = runPart('others', ['--project', '!core', ...withoutSuites])
  // Together, because each is one long file: they share the cores.
  const suites = runPart('suites', ['test/conformance.test', 'test/mutations/'])
  return [core, others, suites].reduce((left, right) => ({
    ok: left.ok && right.ok,
    passed: left.passed + right.passed,
    failed: left.failed + right.failed,
    skipped: left.skipped + right.skipped,
  }))
}

/**
 * @param {string} name
 * @param {string[]} args
 * @returns {Totals}
 */
function runPart(name, args) {
  const report = join(root, `node_modules/.cache/vitest-report-${name}.json`)
  // An earlier run's report must not stand in for this one.
  rmSync(report, { force: true })
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
  // What was built a moment ago: the command starts faster than from its sources.
  const env = { ...process.env, PHSA_BUILT: '1' }
  const ok = succeeds(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', ...args, ...reporters], { env })
  if (!existsSync(report)) return { ok, passed: 0, failed: 0, skipped: 0 }
  const totals = JSON.parse(readFileSync(report, 'utf8'))
  return { ok, passed: totals.numPassedTests, failed: totals.numFailedTests, skipped: totals.numPendingTests + totals.numTodoTests }
}
