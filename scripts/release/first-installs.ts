import { join } from 'node:path'
import type { CheckList } from '../check-list.js'
import { collected } from '../command.mjs'
import { typeCheckConsumers } from '../consumer-types.js'
import { ConsumerProject } from './consumer-project.js'
import type { LocalRegistry } from './local-registry.js'
import type { ReleaseTree } from './release-tree.js'

/** npm spends much of its time waiting. */
const INSTALLS_AT_ONCE = 2

/**
 * Installs each published package alone in a project of its own and uses it: every entry point is imported and has types, and every command says
 * its version.
 *
 * @returns the project of each package, by its name
 */
export async function checkFirstInstalls(list: CheckList, tree: ReleaseTree, registry: LocalRegistry, folder: string) {
  const projects = new Map<string, ConsumerProject>()
  const typeTests: string[] = []
  const waiting = tree.packages()
  const work = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const { name, manifest } = next
      const project = new ConsumerProject(join(folder, name), registry)
      projects.set(name, project)
      const { ok, text } = await project.install({ [name]: manifest.version })
      list.check(`${name}@${manifest.version} installs alone`, ok && (await project.isConsistent()), text)
      const entries = project.entryPoints(name)
      for (const entry of entries) await checkImport(list, project, name, entry)
      if (entries.length > 0) typeTests.push(project.writeTypeTest(entries))
      for (const command of Object.keys(project.manifestOf(name)?.bin ?? {})) {
        const run = await collected('npx', ['--no-install', command, '--version'], { cwd: project.folder })
        list.check(`npx ${command} --version: ${manifest.version}`, run.ok && run.text.includes(manifest.version), run.text)
      }
    }
  }
  await Promise.all(Array.from({ length: INSTALLS_AT_ONCE }, work))
  const types = await typeCheckConsumers(folder, typeTests)
  list.check('every entry point has types', types.ok, types.text)
  return projects
}

/** An entry point works, or names the optional peer that it needs. */
async function checkImport(list: CheckList, project: ConsumerProject, name: string, entry: string): Promise<void> {
  const problem = await project.import(entry)
  const { peerDependenciesMeta = {} } = project.manifestOf(name) ?? {}
  const optional = Object.keys(peerDependenciesMeta).find((peer) => problem.includes(`Cannot find package '${peer}'`))
  list.check(
    `import ${entry}${optional ? ` asks for ${optional}, an optional peer` : ''}`,
    problem === '' || optional !== undefined,
    problem,
  )
}
