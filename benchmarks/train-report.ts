// Writes results/<device>-train.json and its tables in the CUDA package's README from what one call of `bench-train` left (ours.json, peers.json).
// Usage: npx tsx --tsconfig tsconfig.base.json benchmarks/train-report.ts FOLDER
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { replaceSection } from './report/generated-section.js'
import { deviceSlug } from './report/merge-results.js'
import { type TrainPeersResult, trainReport } from './report/train-report.js'
import { trainTables } from './report/train-tables.js'
import type { TrainResult } from './train/train-result.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const README = join(root, 'packages/kernels-cuda/README.md')

const [folder, ...more] = process.argv.slice(2)
if (folder === undefined || more.length > 0 || !existsSync(join(folder, 'ours.json'))) {
  console.error('usage: train-report.ts FOLDER, one that bench-train wrote ours.json to')
  process.exit(2)
}
const read = (name: string) => JSON.parse(readFileSync(join(folder, name), 'utf8'))
const peers = existsSync(join(folder, 'peers.json')) ? (read('peers.json') as TrainPeersResult) : undefined
const report = trainReport(read('ours.json') as TrainResult, peers)
const file = `results/${deviceSlug(report.ours)}-train.json`
writeFileSync(join(root, 'benchmarks', file), `${JSON.stringify(report, undefined, 2)}\n`)
writeFileSync(README, replaceSection(readFileSync(README, 'utf8'), 'train', trainTables(report)))
console.log(`${file} and the README of kernels-cuda`)
