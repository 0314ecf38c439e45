// Checks who imports whom (`npm run check:boundaries`), and that each package.json agrees with its sources.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { allowedWorkspaces, importsAnyBuiltin } from './boundary-rules.js'
import { type ImportStatement, importStatements } from './import-statements.js'

export interface Violation {
  /** Relative to the root, with its line: `packages/core/src/index.ts:3`. */
  place: string
  /** The source line, or the entry of package.json. */
  line: string
  why: string
}

interface Manifest {
  name: string
  dependencies?: Record<string, string>
  peerDependencies?: Record<string, string>
  peerDependenciesMeta?: Record<string, { optional?: boolean }>
}

const isTest = (file: string) => file.endsWith('.test.ts')
const isBuiltin = (specifier: string) => specifier.startsWith('node:') || builtinModules.includes(specifier)
const packageOf = (specifier: string) =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')

/** Every violation under `packages/*` and `apps/*` of the repository at `root`. */
export function checkBoundaries(root: string): Violation[] {
  const folders = ['packages', 'apps']
    .filter((group) => existsSync(join(root, group)))
    .flatMap((group) => readdirSync(join(root, group)).map((name) => `${group}/${name}`))
    .filter((folder) => existsSync(join(root, folder, 'package.json')))
  const manifests = new Map(folders.map((folder) => [folder, readManifest(root, folder)]))
  const byName = new Map([...manifests].map(([folder, manifest]) => [manifest.name, { folder, manifest }]))

  return [...manifests].flatMap(([folder, manifest]) => {
    const allowed = allowedWorkspaces(folder)
    const mayDependOn = (name: string) => !byName.has(name) || allowed === 'any' || allowed.includes(name) || name === manifest.name
    const declared = new Set([...Object.keys(manifest.dependencies ?? {}), ...Object.keys(manifest.peerDependencies ?? {})])
    const used = new Set<string>()

    const reasonAgainst = ({ specifier }: ImportStatement, file: string): string | undefined => {
      if (specifier.startsWith('.')) {
        const target = resolve(root, dirname(file), specifier)
        if (target.startsWith(join(root, folder) + sep)) return undefined
        return `a relative import must stay inside ${folder}; import the other package by its name`
      }
      if (isBuiltin(specifier))
        return importsAnyBuiltin(file) ? undefined : `${folder} also runs in browsers: no Node modules outside src/testing`
      const name = packageOf(specifier)
      used.add(name)
      if (!mayDependOn(name))
        return `${folder} may import ${allowed.length === 0 ? 'no package' : `only ${[...allowed].join(', ')}`} of this repository`
      if (!declared.has(name) && name !== manifest.name)
        return `${name} is in neither dependencies nor peerDependencies of ${folder}/package.json`
      return undefined
    }

    const inSources = sourceFiles(root, folder).flatMap((file) =>
      importStatements(readFileSync(join(root, file), 'utf8')).flatMap((statement) => {
        const why = reasonAgainst(statement, file)
        return why ? [{ place: `${file}:${statement.line}`, line: statement.text, why }] : []
      }),
    )

    // A peer of a dependency must be installed next to it, so declaring it is right although nothing here imports it.
    const peersOfDependencies = new Set([...declared].flatMap((name) => Object.keys(byName.get(name)?.manifest.peerDependencies ?? {})))
    const reasonAgainstDeclaring = (name: string): string | undefined => {
      if (!mayDependOn(name)) return `${folder} may not depend on it`
      const optional = manifest.peerDependenciesMeta?.[name]?.optional === true
      if (used.has(name) || optional || peersOfDependencies.has(name)) return undefined
      return `declared, but no file under ${folder}/src imports it`
    }
    const inManifest = [...declared].flatMap((name) => {
      const why = reasonAgainstDeclaring(name)
      return why ? [{ place: `${folder}/package.json`, line: name, why }] : []
    })
    return [...inSources, ...inManifest]
  })
}

function readManifest(root: string, folder: string): Manifest {
  return JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'))
}

function sourceFiles(root: string, folder: string): string[] {
  const source = join(root, folder, 'src')
  if (!existsSync(source)) return []
  return readdirSync(source, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.tsx?$/.test(name) && !isTest(name))
    .map((name) => relative(root, join(source, name)).split(sep).join('/'))
    .sort()
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const violations = checkBoundaries(fileURLToPath(new URL('..', import.meta.url)))
  for (const { place, line, why } of violations) console.error(`${place}: ${line}\n    ${why}`)
  console.log(violations.length === 0 ? 'import boundaries hold' : `${violations.length} boundary violations`)
  process.exitCode = violations.length === 0 ? 0 : 1
}
