import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { root } from './command.mjs'
import { publishedPackages } from './published-packages.js'

const packages = publishedPackages(root)
/** What npm runs on the machine of whoever installs a package. */
const INSTALL_SCRIPTS = ['preinstall', 'install', 'postinstall', 'preprepare', 'prepare', 'postprepare']

test.each(packages)('$name runs nothing when it is installed', ({ folder, manifest }) => {
  expect(Object.keys(manifest.scripts ?? {}).filter((script) => INSTALL_SCRIPTS.includes(script))).toEqual([])
  // npm compiles it without being asked.
  expect(existsSync(join(folder, 'binding.gyp'))).toBe(false)
})

test.each(packages)('$name says what it is, where it comes from and what it runs on', ({ name, folder, manifest }) => {
  expect(manifest).toMatchObject({
    description: expect.stringMatching(/^[A-Z].{20,}[^.]$/),
    license: 'Apache-2.0',
    engines: { node: '>=20' },
    sideEffects: false,
    publishConfig: { access: 'public', provenance: true },
    // npm refuses provenance where this is not the repository that the workflow runs in.
    repository: {
      type: 'git',
      url: 'git+https://github.com/phsa/phsa.git',
      directory: folder.slice(root.length).replaceAll('\\', '/'),
    },
  })
  expect(manifest.keywords).toContain('phsa')
  for (const file of ['README.md', 'LICENSE']) expect(existsSync(join(folder, file)), `${name} has ${file}`).toBe(true)
})

test.each(packages)('$name ships what is built and no sources', ({ manifest }) => {
  expect(manifest.files).toEqual(expect.arrayContaining(['dist', 'README.md', 'LICENSE']))
  expect(manifest.files!.filter((file) => /^(src|test|scripts|kernels|lab)\b|\*/.test(file))).toEqual([])
})

test.each(packages.filter(({ manifest }) => !manifest.bin))('every entry of $name has types, before what is run', ({ manifest }) => {
  expect(manifest.exports).toHaveProperty(['.'])
  for (const [subpath, entry] of Object.entries(manifest.exports!)) {
    if (subpath === './package.json') continue
    const conditions = Object.entries(entry)
    expect(conditions[0]).toEqual(['types', expect.stringMatching(/^\.\/dist\/.*\.d\.ts$/)])
    expect(conditions.at(-1)).toEqual(['default', conditions[0][1].replace(/\.d\.ts$/, '.js')])
  }
})
