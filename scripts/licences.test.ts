import { readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { expect, test } from 'vitest'
import { root } from './command.mjs'
import { productionDependencies } from './production-dependencies.js'
import { workspacePackages } from './published-packages.js'

/** Licences that let users of an Apache-2.0 package do what it lets them do. A new one is a decision: read it before it is added. */
const ALLOWED = ['Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'ISC', 'MIT', 'Unlicense']

const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages
// The private ones too: what they bundle is shipped.
const workspaces = workspacePackages(root).map(({ folder }) => relative(root, folder).replaceAll('\\', '/'))

test('whatever users install has a licence that is allowed', () => {
  const dependencies = productionDependencies(lock, workspaces)
  const others = [...dependencies].filter(([, { license }]) => !ALLOWED.includes(license ?? ''))
  expect(others.map(([path, { version, license }]) => `${path}@${version}: ${license ?? 'no licence'}`)).toEqual([])
  // Well known ones of each kind: dependency, peer, optional, of a dependency.
  for (const name of ['koffi', '@tensorflow/tfjs-core', '@koromix/koffi-darwin-arm64', 'd3-array'])
    expect([...dependencies.keys()]).toContain(`node_modules/${name}`)
})

test('dependencies are found as Node finds them, without what is for development or an optional peer', () => {
  const found = productionDependencies(
    {
      'packages/a': {
        dependencies: { x: '1', b: '*' },
        peerDependencies: { y: '1', z: '1' },
        peerDependenciesMeta: { z: { optional: true } },
      },
      'packages/b': { optionalDependencies: { x: '2' } },
      'node_modules/b': { link: true, resolved: 'packages/b' },
      'packages/b/node_modules/x': { version: '2', dependencies: { y: '1' } },
      'node_modules/x': { version: '1' },
      'node_modules/y': { version: '1', license: 'MIT' },
      'node_modules/z': { version: '1' },
      'node_modules/only-for-development': { version: '1' },
    },
    ['packages/a'],
  )
  expect([...found.keys()].sort()).toEqual(['node_modules/x', 'node_modules/y', 'packages/b/node_modules/x'])
  expect(() => productionDependencies({ 'packages/a': { dependencies: { x: '1' } } }, ['packages/a'])).toThrow('has no x for packages/a')
})
