// Writes results/<device>-model.json and its tables in the CUDA package's README from what one call of `bench-model` left (ours.json, peers.json).
// Usage: npx tsx --tsconfig tsconfig.base.json benchmarks/model-report.ts FOLDER
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ModelResult } from './model/model-result.js'
import { replaceSection } from './report/generated-section.js'
import { deviceSlug } from './report/merge-results.js'
import { type ModelPeersResult, modelReport } from './report/model-report.js'
import { modelTables } from './report/model-tables.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const README = join(root, 'packages/kernels-cuda/README.md')

const [folder, ...more] = process.argv.slice(2)
if (folder === undefined || more.length > 0 || !existsSync(join(folder, 'ours.json'))) {
  console.error('usage: model-report.ts FOLDER, one that bench-model wrote ours.json to')
  process.exit(2)
}
const read = (name: string) => JSON.parse(readFileSync(join(folder, name), 'utf8'))
const peers = existsSync(join(folder, 'peers.json')) ? (read('peers.json') as ModelPeersResult) : undefined
const report = modelReport(read('ours.json') as ModelResult, peers)
const file = `results/${deviceSlug(report.ours)}-model.json`
writeFileSync(join(root, 'benchmarks', file), `${JSON.stringify(report, undefined, 2)}\n`)
writeFileSync(README, replaceSection(readFileSync(README, 'utf8'), 'model', modelTables(report)))
console.log(`${file} and the README of kernels-cuda`)
