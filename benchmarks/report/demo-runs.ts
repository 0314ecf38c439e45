import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { DemoResults } from '../../apps/cli/src/demo/demo-results.js'

/** Results of `phsa demo` in a folder, the shortest document first, each with its file: `demo.json` and `<device>-demo.json`. */
export function demoRuns(folder: string): { file: string; results: DemoResults }[] {
  return readdirSync(folder)
    .filter((file) => /(^|-)demo\.json$/.test(file))
    .map((file) => ({ file, results: JSON.parse(readFileSync(join(folder, file), 'utf8')) as DemoResults }))
    .sort((left, right) => left.results.document.tokens - right.results.document.tokens)
}
