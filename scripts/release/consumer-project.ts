import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { collected, output } from '../command.mjs'
import type { Manifest } from '../published-packages.js'
import type { LocalRegistry } from './local-registry.js'

const IMPORT_ENTRY = 'await import(process.argv[1])'

/** An empty project of a user, with packages from the local registry. */
export class ConsumerProject {
  constructor(
    readonly folder: string,
    private readonly registry: LocalRegistry,
  ) {
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'consumer', version: '0.0.0', private: true, type: 'module' }))
    writeFileSync(join(folder, '.npmrc'), registry.settings)
  }

  /** `npm install` of packages of ours, each at a version. @returns whether it worked, and what npm printed */
  install(versions: Record<string, string>) {
    const asked = Object.entries(versions).map(([name, version]) =>
      // Without a scope npm would look for it in the usual registry.
      name.startsWith('@phsa/') ? `${name}@${version}` : `${this.registry.url}${name}/-/${name}-${version}.tgz`,
    )
    return collected('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', '--prefix', this.folder, ...asked], {
      cwd: this.folder,
    })
  }

  /** The manifest of an installed package, undefined if it is not there. */
  manifestOf(name: string): Manifest | undefined {
    const file = join(this.folder, 'node_modules', name, 'package.json')
    return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined
  }

  /** Whether every dependency and peer is there, in a version that fits. */
  async isConsistent(): Promise<boolean> {
    const { ok } = await collected('npm', ['ls', '--all'], { cwd: this.folder })
    return ok
  }

  /** What import statements can name of an installed package. */
  entryPoints(name: string): string[] {
    return Object.keys(this.manifestOf(name)?.exports ?? {})
      .filter((subpath) => !subpath.endsWith('.json'))
      .map((subpath) => `${name}${subpath.slice(1)}`)
  }

  /** Imports an entry point in a process of its own. @returns '' or the reason, which may be an optional peer that is not installed */
  async import(entry: string): Promise<string> {
    const { ok, text } = await collected(process.execPath, ['--input-type=module', '--eval', IMPORT_ENTRY, entry], { cwd: this.folder })
    return ok ? '' : text
  }

  /** Writes a module that compiles only if each entry point has types of its own. @returns its path */
  writeTypeTest(entries: readonly string[]): string {
    const file = join(this.folder, 'types.mts')
    const lines = entries.flatMap((entry, at) => [
      `import * as entry${at} from '${entry}'`,
      // `any`, which modules without types are, would make it \`never\`.
      `export const typed${at}: 0 extends 1 & typeof entry${at} ? never : true = true`,
    ])
    writeFileSync(file, `${lines.join('\n')}\n`)
    return file
  }

  /** What npm says that is installed here, on any platform, as CycloneDX. */
  bill() {
    return JSON.parse(output('npm', ['sbom', '--sbom-format', 'cyclonedx', '--package-lock-only'], { cwd: this.folder }))
  }
}
