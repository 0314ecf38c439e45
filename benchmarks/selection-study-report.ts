// Writes the tables and plots of docs/runs/selection-study from its configuration and results.
// Usage: npx tsx --tsconfig tsconfig.base.json benchmarks/selection-study-report.ts [FOLDER]
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { replaceSection } from './report/generated-section.js'
import { studyPlots } from './report/study-plots.js'
import { readStudy } from './report/study-results.js'
import {
  calibrationTable,
  claimsTable,
  controlTable,
  costTable,
  lambdaTable,
  perplexityTable,
  recallTable,
  retrievalTable,
  settingsText,
} from './report/study-tables.js'

const folder = process.argv[2] ?? fileURLToPath(new URL('../docs/runs/selection-study/', import.meta.url))
const study = readStudy(folder)
const plots = studyPlots(study)
const pictureOf = (name: string, about: string) => (plots.has(name) ? `\n\n![${about}](${name})` : '')
const sections = {
  settings: settingsText(study),
  retrieval: `${retrievalTable(study)}${pictureOf('retrieval-by-selector.svg', 'Retrieval by topK and selector')}${pictureOf('retrieval-of-variants.svg', 'Retrieval by topK, variants of distilled PHSA')}`,
  emergence: pictureOf('emergence.svg', 'Dense retrieval while the dense start trains'),
  claims: claimsTable(study),
  cost: `${costTable(study)}${pictureOf('cost.svg', 'Retrieval at topK 2 by the time of a step')}`,
  control: controlTable(study),
  perplexity: perplexityTable(study),
  recall: recallTable(study),
  calibration: calibrationTable(study),
  lambda: lambdaTable(study),
}
const readme = join(folder, 'README.md')
let text = readFileSync(readme, 'utf8')
for (const [name, content] of Object.entries(sections)) text = replaceSection(text, name, content)
writeFileSync(readme, text)
for (const [name, svg] of plots) writeFileSync(join(folder, name), svg)
console.log(`${readme} and ${plots.size} plots, from ${study.seeds.length} seeds`)
