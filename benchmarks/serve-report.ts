// Writes results/<device>-serve.json and its tables in the server's README from what calls of `bench-serve` left (ours.json, peers.json), one folder each.
// Usage: npx tsx --tsconfig tsconfig.base.json benchmarks/serve-report.ts FOLDER...
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { replaceSection } from './report/generated-section.js'
import { deviceSlug } from './report/merge-results.js'
import { type ServePeersResult, type ServeRun, serveReport } from './report/serve-report.js'
import { serveTables } from './report/serve-tables.js'
import type { ServeResult } from './serve/serve-result.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const README = join(root, 'packages/server/README.md')

const folders = process.argv.slice(2)
if (folders.length === 0 || !folders.every((folder) => existsSync(join(folder, 'ours.json')))) {
  console.error('usage: serve-report.ts FOLDER..., those that bench-serve wrote ours.json to')
  process.exit(2)
}
const runs = folders.map((folder): ServeRun => {
  const read = (name: string) => JSON.parse(readFileSync(join(folder, name), 'utf8'))
  const ours = read('ours.json') as ServeResult
  return existsSync(join(folder, 'peers.json')) ? { ours, peers: read('peers.json') as ServePeersResult } : { ours }
})
const report = serveReport(runs)
const file = `results/${deviceSlug(report.runs[0].ours)}-serve.json`
writeFileSync(join(root, 'benchmarks', file), `${JSON.stringify(report, undefined, 2)}\n`)
writeFileSync(README, replaceSection(readFileSync(README, 'utf8'), 'serve', serveTables(report)))
console.log(`${file} and the README of server`)
