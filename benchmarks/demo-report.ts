// Writes the table of `phsa demo` in the README of the command from results/demo.json and results/<device>-demo.json, which `phsa demo --out` wrote.
// Usage: npx tsx --tsconfig tsconfig.base.json benchmarks/demo-report.ts
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { demoRuns } from './report/demo-runs.js'
import { demoTable } from './report/demo-table.js'
import { replaceSection } from './report/generated-section.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const README = join(root, 'apps/cli/README.md')
const runs = demoRuns(join(root, 'benchmarks/results'))
writeFileSync(README, replaceSection(readFileSync(README, 'utf8'), 'demo', demoTable(runs)))
console.log(`the README of the command, from ${runs.map(({ file }) => file).join(', ')}`)
