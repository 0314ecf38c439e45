import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { benchmarkTables, type ResultFile } from './benchmark-tables.js'

const folder = new URL('../../benchmarks/results/', import.meta.url)
const results: ResultFile[] = readdirSync(folder).map((name) => ({
  name,
  content: JSON.parse(readFileSync(new URL(name, folder), 'utf8')),
}))

test('each result with tables is on its page, under its own heading', () => {
  const pages = benchmarkTables(results)
  expect([...pages.keys()].sort()).toEqual(['attention', 'decoding', 'model', 'serving', 'tensorflow', 'training', 'webgpu'])
  for (const text of pages.values()) expect(text).not.toMatch(/undefined|NaN|\[object/)
  expect(pages.get('attention')).toContain('## NVIDIA H200\n\nFrom [`nvidia-h200.json`](')
  expect(pages.get('attention')).toContain('](./nvidia-h200-length.svg)')
  const [title] = pages.get('tensorflow')?.match(/^## .*$/m) ?? []
  expect(title).toBe('## AMD EPYC, 2 cores, tfjs-node')
})

test('the tables are those of the packages’ READMEs', () => {
  const readme = readFileSync(new URL('../../packages/kernels-webgpu/README.md', import.meta.url), 'utf8')
  const [, section] = /<!-- benchmark:start -->\n([\s\S]*?)\n<!-- benchmark:end -->/.exec(readme) ?? []
  expect(benchmarkTables(results).get('webgpu')).toContain(section)
})

test('every result that a report was made of has tables', () => {
  const text = [...benchmarkTables(results).values()].join('')
  for (const { name } of results.filter(({ content }) => content.format?.endsWith('-report/1')))
    expect(text).toContain(`From [\`${name}\`]`)
})

test('a page without results says so, and one of no known format has no page', () => {
  const pages = benchmarkTables([{ name: 'other.json', content: { format: 'other/1' } }])
  expect(new Set(pages.values())).toEqual(new Set(['There is no result file of it yet.\n']))
})
