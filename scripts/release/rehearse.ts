// Rehearses a release (`npm run release:rehearse`, after a build): in a copy of this tree, versions are raised and packages published to a registry on
// this machine; then each is installed alone in an empty project, and released again by itself and together with core. Nothing leaves this machine,
// and the tree stays as it is.
//
//   --sbom FOLDER   writes the bill of materials of each package there, as CycloneDX
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { CheckList } from '../check-list.js'
import { checkFirstInstalls } from './first-installs.js'
import { LocalRegistry } from './local-registry.js'
import { packageBill } from './package-bill.js'
import { type Bump, ReleaseTree } from './release-tree.js'

const { values: options } = parseArgs({ options: { sbom: { type: 'string' } } })
const list = new CheckList()
const temporary = mkdtempSync(join(tmpdir(), 'phsa-release-'))
process.on('exit', () => rmSync(temporary, { recursive: true, force: true }))
const tree = ReleaseTree.copy(join(temporary, 'tree'), { packed: true })
const registry = await LocalRegistry.start(join(temporary, 'registry'))

/** As in tags, such as `@phsa/core@0.1.0`, in order. */
function namesAndVersions(versions: Record<string, string>): string[] {
  return Object.entries(versions)
    .map(([name, version]) => `${name}@${version}`)
    .sort()
}

/** `changeset publish`, as `npm run release` does after the build. @returns what it says it published */
function publish(): string[] {
  const said = tree.changeset('publish', {
    npm_config_registry: registry.url,
    // `prepack` demands kernels for all GPUs, which only the release workflow has.
    npm_config_ignore_scripts: 'true',
  })
  return [...said.matchAll(/New tag:\s+(\S+)/g)].map(([, tag]) => tag).sort()
}

/** Releases what a changeset names. @returns the packages whose version changed */
function release(bumps: Record<string, Bump>, sentence: string): string[] {
  const before = tree.versions()
  tree.addChangeset(bumps, sentence)
  tree.raiseVersions()
  const after = tree.versions()
  const raised = Object.keys(after).filter((name) => after[name] !== before[name])
  const expected = namesAndVersions(Object.fromEntries(raised.map((name) => [name, after[name]])))
  list.check(`published: ${expected.join(', ')}`, String(publish()) === String(expected))
  return raised.sort()
}

try {
  tree.raiseVersions()
  list.check("every range holds this tree's version", tree.unlinked().length === 0, tree.unlinked().join(', '))
  // Only machines of GitHub and GitLab can say where a package comes from, and this registry's settings come from the project.
  for (const { folder, manifest } of tree.packages()) {
    const { provenance, ...publishConfig } = manifest.publishConfig ?? {}
    list.check(`${manifest.name}: is published with provenance`, provenance === true)
    writeFileSync(join(folder, 'package.json'), `${JSON.stringify({ ...manifest, publishConfig }, null, 2)}\n`)
  }
  writeFileSync(join(tree.root, '.npmrc'), registry.settings)
  tree.commit('for the local registry')

  // As if an earlier attempt had broken off after one package.
  const first = tree.versions()
  tree.run('npm', ['publish', '--ignore-scripts', '--workspace', '@phsa/core', '--registry', registry.url])
  const everything = namesAndVersions(first)
  const published = publish()
  list.check(
    'a second attempt publishes what is left',
    String(published) === String(everything.filter((each) => !each.startsWith('@phsa/core@'))),
  )
  tree.changeset('tag')
  list.check('`changeset tag` adds the missing tag', String(tree.git('tag').trim().split('\n').sort()) === String(everything))

  const projects = await checkFirstInstalls(list, tree, registry, join(temporary, 'projects'))
  if (options.sbom !== undefined) {
    mkdirSync(options.sbom, { recursive: true })
    for (const [name, project] of projects) {
      const file = `${name.replace('@', '').replace('/', '-')}-${first[name]}.cdx.json`
      const bill = packageBill(project.bill(), { name, version: first[name] }, Object.keys(first))
      writeFileSync(resolve(options.sbom, file), `${JSON.stringify(bill, null, 2)}\n`)
    }
  }

  // One package alone.
  const patched = release({ '@phsa/model': 'patch' }, 'A fix in the model.')
  list.check('a patch of model is a release of model alone', String(patched) === '@phsa/model')
  const trained = projects.get('@phsa/trainer')!
  const patch = tree.versions()['@phsa/model']
  const upgraded = await trained.install({ '@phsa/model': patch })
  list.check('a project upgrades model alone', upgraded.ok && (await trained.isConsistent()), upgraded.text)
  for (const name of ['@phsa/core', '@phsa/trainer', '@phsa/model'])
    list.check(`there ${name} is ${tree.versions()[name]}`, trained.manifestOf(name)?.version === tree.versions()[name])

  // Core, and a backend that needs what is new in it.
  const together = release({ '@phsa/core': 'minor', '@phsa/kernels-tfjs': 'minor' }, 'Something new in the contract.')
  list.check('core and a backend take the command with them', String(together) === '@phsa/core,@phsa/kernels-tfjs,phsa')
  const last = tree.versions()
  const backend = projects.get('@phsa/kernels-tfjs')!
  const raised = await backend.install({ '@phsa/kernels-tfjs': last['@phsa/kernels-tfjs'] })
  list.check('a project that upgrades the backend gets the core it needs', raised.ok && (await backend.isConsistent()), raised.text)
  list.check(`there @phsa/core is ${last['@phsa/core']}`, backend.manifestOf('@phsa/core')?.version === last['@phsa/core'])
  const newCore = await trained.install({ '@phsa/core': last['@phsa/core'] })
  list.check('a project upgrades core alone', newCore.ok && (await trained.isConsistent()), newCore.text)
  const command = projects.get('phsa')!
  const newCommand = await command.install({ phsa: last.phsa })
  list.check('a project upgrades the command', newCommand.ok && (await command.isConsistent()), newCommand.text)
  for (const name of together) list.check(`there ${name} is ${last[name]}`, command.manifestOf(name)?.version === last[name])
} finally {
  registry.stop()
}
list.finish('the release holds')
