// Merges what calls of `bench-attention` left (ours.json, peers*.json; a folder a call) into results/<device>.json, and writes the tables of the
// CUDA package's README and the plots from it. A folder of `bench-decode` (decode.json) becomes results/<device>-decode.json and a table there.
// Usage: npx tsx --tsconfig tsconfig.base.json benchmarks/device-report.ts FOLDER...
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { DeviceResult } from './attention/device-result.js'
import type { DecodeResult } from './decode/decode-result.js'
import { lengthPlot, topKPlot } from './report/cost-plots.js'
import { decodeReport } from './report/decode-report.js'
import { decodeTable } from './report/decode-table.js'
import { replaceSection } from './report/generated-section.js'
import { type BenchRun, deviceName, deviceSlug, mergeResults } from './report/merge-results.js'
import type { PeersResult } from './report/peers-result.js'
import { reportTables } from './report/report-tables.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const README = join(root, 'packages/kernels-cuda/README.md')
const IMAGES = 'docs/benchmarks'

const given = process.argv.slice(2)
const isDecode = (folder: string) => existsSync(join(folder, 'decode.json'))
const folders = given.filter((folder) => !isDecode(folder))
if (given.length === 0 || !folders.every((folder) => existsSync(join(folder, 'ours.json')))) {
  console.error('usage: device-report.ts FOLDER..., those that bench-attention wrote ours.json to, or bench-decode decode.json')
  process.exit(2)
}
for (const folder of given.filter(isDecode)) writeDecode(JSON.parse(readFileSync(join(folder, 'decode.json'), 'utf8')))
if (folders.length > 0) writeAttention(mergeResults(folders.map(readRun)))

function writeDecode(result: DecodeResult): void {
  const file = `benchmarks/results/${deviceSlug(result)}-decode.json`
  const report = decodeReport(result)
  writeFileSync(join(root, file), `${JSON.stringify(report, undefined, 2)}\n`)
  writeFileSync(README, replaceSection(readFileSync(README, 'utf8'), 'decode', decodeTable(report)))
  console.log(`${file} and the README of kernels-cuda`)
}

function writeAttention(report: ReturnType<typeof mergeResults>): void {
  const slug = deviceSlug(report)

  const plots = { length: lengthPlot(report), 'top-k': topKPlot(report) }
  const pictures: string[] = []
  mkdirSync(join(root, IMAGES), { recursive: true })
  for (const [name, svg] of Object.entries(plots)) {
    const file = `${IMAGES}/${slug}-${name}.svg`
    if (svg === '') {
      // Of an earlier result, which this one replaces.
      rmSync(join(root, file), { force: true })
      continue
    }
    writeFileSync(join(root, file), svg)
    pictures.push(`![Milliseconds by ${name} on ${deviceName(report)}](https://raw.githubusercontent.com/phsa/phsa/main/${file})`)
  }
  writeFileSync(join(root, `benchmarks/results/${slug}.json`), `${JSON.stringify(report, undefined, 2)}\n`)
  writeFileSync(README, replaceSection(readFileSync(README, 'utf8'), 'benchmark', [reportTables(report), ...pictures].join('\n\n')))
  console.log(`results/${slug}.json, the README of kernels-cuda and ${pictures.length} plots`)
}

function readRun(folder: string): BenchRun {
  const read = (name: string) => JSON.parse(readFileSync(join(folder, name), 'utf8'))
  const peers = readdirSync(folder)
    .filter((name) => /^peers.*\.json$/.test(name))
    .sort()
    .map((name) => read(name) as PeersResult)
  return { ours: read('ours.json') as DeviceResult, peers }
}
