import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { checkBoundaries } from './check-boundaries.js'

let root: string

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'boundaries-'))
  write('packages/core/package.json', JSON.stringify({ name: '@phsa/core' }))
  write('packages/core/src/index.ts', "export { pool } from './pool.js'\n")
})
afterEach(() => rmSync(root, { recursive: true }))

function write(path: string, text: string) {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  writeFileSync(join(root, path), text)
}

function writePackage(folder: string, name: string, imports: string[], manifest = {}) {
  const dependencies = Object.fromEntries(imports.map((specifier) => [specifier, '*']))
  write(`${folder}/package.json`, JSON.stringify({ name, dependencies, ...manifest }))
  write(`${folder}/src/index.ts`, imports.map((specifier) => `import '${specifier}'\n`).join(''))
}

test('the intended direction has no violations', () => {
  writePackage('packages/kernels-tfjs', '@phsa/kernels-tfjs', ['@phsa/core', '@tensorflow/tfjs-core'])
  writePackage('packages/model', '@phsa/model', ['@phsa/core'])
  writePackage('packages/trainer', '@phsa/trainer', ['@phsa/core', '@phsa/model'])
  writePackage('apps/cli', 'phsa', ['@phsa/core', '@phsa/kernels-tfjs', '@phsa/trainer'])
  expect(checkBoundaries(root)).toEqual([])
})

test.each([
  ['packages/core', '@phsa/core', '@phsa/model'],
  ['packages/kernels-tfjs', '@phsa/kernels-tfjs', '@phsa/model'],
  ['packages/model', '@phsa/model', '@phsa/kernels-tfjs'],
  ['packages/trainer', '@phsa/trainer', '@phsa/kernels-tfjs'],
  ['packages/server', '@phsa/server', '@phsa/kernels-cuda'],
])('%s must not import against the direction', (folder, name, forbidden) => {
  writePackage('packages/kernels-tfjs', '@phsa/kernels-tfjs', [])
  writePackage('packages/kernels-cuda', '@phsa/kernels-cuda', [])
  writePackage('packages/model', '@phsa/model', [])
  writePackage(folder, name, [forbidden])
  const [inSource, inManifest] = checkBoundaries(root)
  expect(inSource).toMatchObject({ place: `${folder}/src/index.ts:1`, line: `import '${forbidden}'` })
  expect(inManifest).toMatchObject({ place: `${folder}/package.json`, line: forbidden })
})

test.each([
  ["const kernels = await import('@phsa/kernels-tfjs')"],
  ["export type { Engine } from '@phsa/kernels-tfjs'"],
  ["export type Engine = import('@phsa/kernels-tfjs/sub').Engine"],
])('finds %s', (statement) => {
  writePackage('packages/kernels-tfjs', '@phsa/kernels-tfjs', [])
  writePackage('packages/trainer', '@phsa/trainer', [])
  write('packages/trainer/src/deep/file.ts', `// a comment\n${statement}\n`)
  expect(checkBoundaries(root)).toMatchObject([{ place: 'packages/trainer/src/deep/file.ts:2', line: statement }])
})

test('an import in a comment or a string is none', () => {
  write('packages/core/src/pool.ts', "// import '@phsa/model'\nexport const text = \"import '@phsa/model'\"\n")
  expect(checkBoundaries(root)).toEqual([])
})

test('a relative path into another package is a violation', () => {
  writePackage('packages/model', '@phsa/model', [])
  write('packages/model/src/index.ts', "import '../../core/src/index.js'\n")
  expect(checkBoundaries(root)).toMatchObject([{ why: expect.stringContaining('must stay inside packages/model') }])
})

test('core imports no Node module, its testing entry may', () => {
  write('packages/core/src/pool.ts', "import 'node:fs'\n")
  write('packages/core/src/testing/index.ts', "import 'node:fs'\n")
  expect(checkBoundaries(root)).toMatchObject([{ place: 'packages/core/src/pool.ts:1' }])
})

test('an import that package.json does not declare is a violation', () => {
  writePackage('packages/model', '@phsa/model', ['@huggingface/jinja'], { dependencies: {} })
  expect(checkBoundaries(root)).toMatchObject([
    { why: '@huggingface/jinja is in neither dependencies nor peerDependencies of packages/model/package.json' },
  ])
})

test('a dependency that nothing imports is a violation, unless it is a peer of another one', () => {
  writePackage('packages/kernels-tfjs', '@phsa/kernels-tfjs', [], { peerDependencies: { '@tensorflow/tfjs-core': '*' } })
  write('packages/kernels-tfjs/src/index.ts', "import '@tensorflow/tfjs-core'\n")
  writePackage('apps/cli', 'phsa', ['@phsa/kernels-tfjs', '@tensorflow/tfjs-core', 'commander'])
  write('apps/cli/src/index.ts', "import '@phsa/kernels-tfjs'\n")
  expect(checkBoundaries(root)).toMatchObject([{ place: 'apps/cli/package.json', line: 'commander' }])
})
