import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { demoRuns } from '../report/demo-runs.js'
import { demoTable } from '../report/demo-table.js'
import { smallModelResults } from '../report/small-model-results.js'
import { smallModelTables } from '../report/small-model-tables.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const results = smallModelResults(join(root, 'apps/playground/training/results'))

test('the README of the command has the table of the demo’s results', () => {
  const table = demoTable(demoRuns(join(root, 'benchmarks/results')))
  expect(table).toContain('| 8,192 | dense | ')
  expect(read('apps/cli/README.md')).toContain(`<!-- demo:start -->\n${table}\n<!-- demo:end -->`)
})

test('the README of the small model has the tables of its results', () => {
  const tables = smallModelTables(results)
  expect(tables).toContain('16 windows of 8,192 tokens')
  expect(read('apps/playground/training/README.md')).toContain(`<!-- results:start -->\n${tables}\n<!-- results:end -->`)
})

test('needles by length once some are found, and a sentence while none are', () => {
  const { needle } = results
  if (!needle) throw new Error('there is no needle.json')
  const cell = { length: 1024, depth: 0.5, trials: 10, accuracy: 30, interval: [5, 60] as const, informationLoss: 0 }
  const cells = [cell, { ...cell, trials: 30, accuracy: 70 }, { ...cell, length: 8192, accuracy: 0 }]
  const overall = { trials: 50, accuracy: 48, interval: [30, 60] as const, informationLoss: 0 }
  const found = { policy: 'phsa', topK: 2, activatedTokens: 176, sparsity: 0.9, cells, overall }
  expect(smallModelTables({ evaluations: [], needle: { ...needle, retrieval: [found] } })).toMatch(
    /50 trials a line[\s\S]*\| 1,024 \| 8,192 \|\n[\s\S]*\| phsa topK 2 \| 60 % \| 0 % \|$/,
  )
  const none = { ...found, overall: { ...overall, accuracy: 0 } }
  expect(smallModelTables({ evaluations: [], needle: { ...needle, retrieval: [none] } })).toContain('none is found')
})
