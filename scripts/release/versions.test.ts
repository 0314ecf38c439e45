// What `npm run version-packages` makes of this tree, without the lockfile; `npm run release:rehearse` does it all, and publishes.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { root } from '../command.mjs'
import type { Manifest } from '../published-packages.js'
import { raisePeerRanges } from './peer-ranges.js'
import { ReleaseTree } from './release-tree.js'

const folder = mkdtempSync(join(tmpdir(), 'phsa-versions-'))
let tree: ReleaseTree
let manifests: Record<string, Manifest>

function raise() {
  tree.changeset('version')
  raisePeerRanges(folder)
  tree.commit('versions')
  manifests = Object.fromEntries(tree.packages().map(({ name, manifest }) => [name, manifest]))
}

beforeAll(() => {
  tree = ReleaseTree.copy(folder, { packed: false })
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Each changeset's packages and sentence. */
function pendingChangesets(): { bumps: Map<string, string>; sentence: string }[] {
  const changesets = join(root, '.changeset')
  return readdirSync(changesets)
    .filter((name) => name.endsWith('.md') && name !== 'README.md')
    .map((name) => {
      const [, head, sentence] = /^---\n(.*?)\n---\n\n(.+)\n$/s.exec(readFileSync(join(changesets, name), 'utf8')) ?? []
      if (sentence === undefined || sentence.includes('\n'))
        throw new Error(`.changeset/${name}: not packages between lines of ---, then one paragraph.`)
      return { bumps: new Map(head.split('\n').map((line) => line.replace(/['"]/g, '').split(': ') as [string, string])), sentence }
    })
}

test('changesets become versions, lines of changelogs, and ranges that these versions are in', () => {
  const before = tree.versions()
  const pending = pendingChangesets()
  for (const { bumps } of pending) {
    for (const [name, bump] of bumps) {
      expect(before).toHaveProperty([name])
      // 1.0.0 of one package would be 1.0.0 of all that have it as a peer: nothing to happen by the way.
      expect(['minor', 'patch']).toContain(bump)
    }
  }
  raise()
  expect(readdirSync(join(folder, '.changeset'))).toEqual(['config.json'])
  for (const { name, folder: of, manifest } of tree.packages()) {
    const own = pending.filter(({ bumps }) => bumps.has(name))
    if (own.length === 0) continue
    expect(manifest.version).not.toBe(before[name])
    const changelog = readFileSync(join(of, 'CHANGELOG.md'), 'utf8')
    expect(changelog.startsWith(`# ${name}\n\n## ${manifest.version}\n`)).toBe(true)
    for (const { sentence } of own) expect(changelog).toContain(sentence)
  }
})

test('a minor of core is a release of core and of the command; a package released with it asks for it', () => {
  const { '@phsa/model': model, '@phsa/trainer': trainer } = manifests
  tree.addChangeset({ '@phsa/core': 'minor', '@phsa/model': 'patch' }, 'Something new.')
  const before = tree.versions()
  raise()
  const raised = Object.keys(before).filter((name) => before[name] !== manifests[name].version)
  expect(raised.sort()).toEqual(['@phsa/core', '@phsa/model', 'phsa'])
  const core = manifests['@phsa/core'].version
  expect(manifests.phsa.dependencies).toMatchObject({ '@phsa/core': `^${core}` })
  expect(manifests['@phsa/trainer'].peerDependencies).toEqual(trainer.peerDependencies)
  expect(manifests['@phsa/model'].peerDependencies).toEqual({ ...model.peerDependencies, '@phsa/core': `>=${core} <1.0.0` })
})

test('1.0.0 of core is one of every package that has it as a peer, and each stays open for later versions', () => {
  tree.addChangeset({ '@phsa/core': 'major' }, 'The first stable contract.')
  raise()
  for (const { peerDependencies = {}, version } of Object.values(manifests)) {
    if (!('@phsa/core' in peerDependencies)) continue
    expect(version).toBe('1.0.0')
    expect(peerDependencies['@phsa/core']).toBe('>=1.0.0 <2.0.0')
  }
  expect(manifests.phsa.dependencies).toMatchObject({ '@phsa/core': '^1.0.0', '@phsa/model': '^1.0.0' })
})
