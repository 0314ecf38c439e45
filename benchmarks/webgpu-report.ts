// Writes results/<device>-webgpu.json and its tables in the README of kernels-webgpu from what one call of `bench-webgpu` left (webgpu.json).
// Usage: npx tsx --tsconfig tsconfig.base.json benchmarks/webgpu-report.ts FOLDER
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { replaceSection } from './report/generated-section.js'
import { deviceSlug } from './report/merge-results.js'
import { webgpuDeviceName, webgpuReport } from './report/webgpu-report.js'
import { webgpuTables } from './report/webgpu-tables.js'
import type { WebgpuResult } from './webgpu/webgpu-result.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const README = join(root, 'packages/kernels-webgpu/README.md')

const [folder, ...more] = process.argv.slice(2)
if (folder === undefined || more.length > 0 || !existsSync(join(folder, 'webgpu.json'))) {
  console.error('usage: webgpu-report.ts FOLDER, one that bench-webgpu wrote webgpu.json to')
  process.exit(2)
}
const report = webgpuReport(JSON.parse(readFileSync(join(folder, 'webgpu.json'), 'utf8')) as WebgpuResult)
const file = `results/${deviceSlug({ device: webgpuDeviceName(report) })}-webgpu.json`
writeFileSync(join(root, 'benchmarks', file), `${JSON.stringify(report, undefined, 2)}\n`)
writeFileSync(README, replaceSection(readFileSync(README, 'utf8'), 'benchmark', webgpuTables(report)))
console.log(`${file} and the README of kernels-webgpu`)
