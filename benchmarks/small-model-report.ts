// Writes the tables in apps/playground/training/README.md from apps/playground/training/results: eval-*.json and needle.json of `phsa eval --out`,
// calibrate.json of `phsa calibrate --dry-run --json`.
// Usage: npx tsx --tsconfig tsconfig.base.json benchmarks/small-model-report.ts
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { replaceSection } from './report/generated-section.js'
import { smallModelResults } from './report/small-model-results.js'
import { smallModelTables } from './report/small-model-tables.js'

const folder = fileURLToPath(new URL('../apps/playground/training/', import.meta.url))
const readme = join(folder, 'README.md')
writeFileSync(readme, replaceSection(readFileSync(readme, 'utf8'), 'results', smallModelTables(smallModelResults(join(folder, 'results')))))
console.log(`the tables of ${readme}`)
