import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { root } from './command.mjs'
import { BUDGETS, sizeTable } from './package-sizes.js'
import { publishedPackages } from './published-packages.js'

test('every published package has a budget, and a size in the table', () => {
  const names = publishedPackages(root).map(({ name }) => name)
  expect(Object.keys(BUDGETS).sort()).toEqual(names.sort())
  const result = JSON.parse(readFileSync(join(root, 'benchmarks/results/package-sizes.json'), 'utf8'))
  expect(Object.keys(result.sizes).sort()).toEqual(names)
  expect(readFileSync(join(root, 'benchmarks/README.md'), 'utf8')).toContain(
    `<!-- package-sizes:start -->\n${sizeTable(result)}\n<!-- package-sizes:end -->`,
  )
})

test('a table of sizes', () => {
  const sizes = { '@phsa/core': 123_456, '@phsa/kernels-cuda': 2_000_000 }
  expect(sizeTable({ unit: 'bytes', kernels: ['sm_80', 'sm_90a'], sizes })).toMatch(
    /\| `@phsa\/core` \| 123 \| 400 \|\n.* 2,000 \| 8,500 \|\n\n.* for sm_80, sm_90a\.$/,
  )
  expect(sizeTable({ unit: 'bytes', kernels: [], sizes })).toContain('with no kernels')
})
