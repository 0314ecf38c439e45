import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { benchTable } from '../../apps/cli/src/bench/bench-table.js'
import { decodeTable } from '../../benchmarks/report/decode-table.js'
import { modelTables } from '../../benchmarks/report/model-tables.js'
import { reportTables } from '../../benchmarks/report/report-tables.js'
import { serveTables } from '../../benchmarks/report/serve-tables.js'
import { trainTables } from '../../benchmarks/report/train-tables.js'
import { webgpuTables } from '../../benchmarks/report/webgpu-tables.js'
import { root } from '../command.mjs'

/** A parsed file of `benchmarks/results`. */
export interface ResultFile {
  /** Without the folder: `nvidia-h200.json`. */
  readonly name: string
  // Each format is written and read by the same code, so its table maker takes what it finds.
  readonly content: { readonly format?: string }
}

type TableMaker = (content: never, name: string) => string

/** What shows a result of a format: the page of the site that it is on, and its tables as Markdown. */
const MAKERS: Readonly<Record<string, { readonly page: string; readonly tables: TableMaker }>> = {
  'phsa-device/1': {
    page: 'attention',
    tables: (content: Parameters<typeof reportTables>[0], name) => [reportTables(content), ...plots(name)].join('\n\n'),
  },
  'phsa-decode-report/1': { page: 'decoding', tables: decodeTable },
  'phsa-model-report/1': { page: 'model', tables: modelTables },
  'phsa-serve-report/1': { page: 'serving', tables: serveTables },
  'phsa-train-report/1': { page: 'training', tables: trainTables },
  'phsa-webgpu-report/1': { page: 'webgpu', tables: webgpuTables },
  // Plain text, aligned.
  'phsa-bench/1': {
    page: 'tensorflow',
    tables: (content: Parameters<typeof benchTable>[0]) => `\`\`\`text\n${benchTable(content)}\n\`\`\``,
  },
}

/**
 * The tables of all results that have some, as Markdown, by page. Each has the name of its file as a heading.
 * @returns text by page: attention, decoding, model, serving, training, webgpu, tensorflow; of one without results that it has none
 */
export function benchmarkTables(results: readonly ResultFile[]): Map<string, string> {
  const pages = new Map(Object.values(MAKERS).map(({ page }) => [page, '']))
  for (const { name, content } of results) {
    const maker = MAKERS[content.format ?? '']
    if (!maker) continue
    const tables = maker.tables(content as never, name)
    const source = `[\`${name}\`](https://github.com/phsa/phsa/blob/main/benchmarks/results/${name})`
    const section = `## ${titleOf(name)}\n\nFrom ${source}.\n\n<div class="benchmark">\n\n${tables}\n\n</div>\n`
    pages.set(maker.page, `${pages.get(maker.page)}${section}\n`)
  }
  for (const [page, text] of pages) if (text === '') pages.set(page, 'There is no result file of it yet.\n')
  return pages
}

/** A heading: `nvidia-h200-decode.json` is of NVIDIA H200, `amd-epyc-2-cores-tfjs-wasm.json` of AMD EPYC, 2 cores, tfjs-wasm. */
function titleOf(name: string): string {
  return name
    .replace(/(-decode|-model|-serve|-train|-webgpu)?\.json$/, '')
    .replace(/-(\d+)-cores(?:-|$)/, ', $1 cores, ')
    .replace(/, $/, '')
    .replace(/^[^,]*/, (device) => device.replaceAll('-', ' ').toUpperCase())
}

function plots(name: string): string[] {
  const device = name.replace(/\.json$/, '')
  return ['length', 'top-k']
    .filter((axis) => existsSync(join(root, `docs/benchmarks/${device}-${axis}.svg`)))
    .map((axis) => `![Milliseconds by ${axis} on ${titleOf(name)}](./${device}-${axis}.svg)`)
}
