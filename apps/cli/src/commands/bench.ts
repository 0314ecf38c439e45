import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { backends } from '../backends.js'
import { benchBackends } from '../bench/bench-backends.js'
import type { BenchGroup } from '../bench/bench-case.js'
import { benchCases } from '../bench/bench-cases.js'
import { type BenchReport, hasFailures } from '../bench/bench-report.js'
import { benchTable } from '../bench/bench-table.js'
import { sourceCommit } from '../bench/source-commit.js'
import { USUAL_LIMITS } from '../bench/timing.js'
import { ExitCode } from '../exit-code.js'
import { prepareFile } from '../files/prepare-folder.js'
import { writeWholeFile } from '../files/write-whole-file.js'
import { type Interruption, interruptible } from '../interruption.js'
import { loadAverage, machine, machineSlug } from '../machine.js'
import { packageVersion } from '../package-version.js'
import { reportJson } from '../report-json.js'

export interface BenchOptions {
  readonly backend?: readonly string[]
  readonly only: readonly BenchGroup[]
  readonly matmul: number
  readonly length: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly topK: readonly number[]
  readonly promptTokens: number
  readonly newTokens: number
  readonly seconds: number
  readonly out: string
  readonly json?: boolean
}

/** Left out unless asked for by name, and why. */
const ON_REQUEST: Readonly<Record<string, string>> = {
  tfjs: 'the best of the other TensorFlow.js engines; ask for it with --backend tfjs',
  reference: 'slow by design, what the others are compared with; ask for it with --backend reference',
}

/** Times backends side by side, each case only after it agreed with the reference. Exit code 1 where one did not. */
export function runBench(options: BenchOptions): Promise<ExitCode> {
  return interruptible(async (interruption) => {
    const path = await resultFile(options.out)
    await prepareFile(path)
    try {
      const report = await measure(options, interruption)
      await writeWholeFile(path, reportJson(report))
      process.stdout.write(options.json ? reportJson(report) : `${benchTable(report)}\n\nresults in ${path}\n`)
      if (report.backends.every(({ available }) => !available)) return ExitCode.backendUnavailable
      return hasFailures(report) ? ExitCode.checkFailed : ExitCode.ok
    } catch (error) {
      if (!interruption.caused(error)) throw error
      process.stderr.write('interrupted; nothing was written\n')
      return ExitCode.interrupted
    }
  })
}

async function measure(options: BenchOptions, interruption: Interruption): Promise<BenchReport> {
  const { only, matmul, length, heads, kvHeads, headDim, topK, promptTokens, newTokens } = options
  const before = loadAverage()
  const limits = { ...USUAL_LIMITS, budget: options.seconds, patience: Math.max(USUAL_LIMITS.patience, options.seconds * 20) }
  const commit = await sourceCommit()
  const attention = { heads, kvHeads, headDim, length }
  const cases = benchCases(only, { matmul, attention, topKs: topK, generation: { promptTokens, newTokens } })
  const wanted = backends.filter(({ name }) => (options.backend ? options.backend.includes(name) : !(name in ON_REQUEST)))
  const skipped = options.backend ? [] : backends.filter(({ name }) => name in ON_REQUEST)
  const onProgress = (note: string) => process.stderr.write(`${note}\n`)
  const benched = await benchBackends(wanted, { cases, limits, interruption, onProgress })
  return {
    format: 'phsa-bench/1',
    createdAt: new Date().toISOString(),
    version: packageVersion(),
    ...(commit ? { commit } : {}),
    machine: machine(),
    loadAverage: { before, after: loadAverage() },
    limits,
    backends: benched,
    leftOut: skipped.map(({ name }) => ({ name, reason: ON_REQUEST[name] })),
  }
}

/** A folder gets a file named after the machine. */
async function resultFile(out: string): Promise<string> {
  const isFolder = /[\\/]$/.test(out) || (await stat(out).catch(() => undefined))?.isDirectory() === true
  return isFolder ? join(out, `${machineSlug(machine())}.json`) : out
}
