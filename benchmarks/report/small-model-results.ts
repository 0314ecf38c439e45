import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { EvalReport } from '../../apps/cli/src/evaluation/eval-report.js'
import type { SmallModelResults } from './small-model-tables.js'

/** Reads the folder of results of the playground's model; `needle.json` and `calibrate.json` may be absent. */
export function smallModelResults(folder: string): SmallModelResults {
  const read = (name: string) => JSON.parse(readFileSync(join(folder, name), 'utf8'))
  const evaluations = readdirSync(folder)
    .filter((name) => /^eval-.*\.json$/.test(name))
    .map((name) => read(name) as EvalReport)
    .sort((left, right) => left.tokens - right.tokens)
  return {
    evaluations,
    ...(existsSync(join(folder, 'needle.json')) && { needle: read('needle.json') }),
    ...(existsSync(join(folder, 'calibrate.json')) && { calibration: read('calibrate.json') }),
  }
}
