import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** What is read here of a `package.json`. */
export interface Manifest {
  name: string
  version: string
  private?: boolean
  description?: string
  keywords?: string[]
  license?: string
  repository?: { type: string; url: string; directory: string }
  engines?: Record<string, string>
  sideEffects?: boolean | string[]
  bin?: Record<string, string>
  exports?: Record<string, string | Record<string, string>>
  files?: string[]
  publishConfig?: Record<string, unknown>
  scripts?: Record<string, string>
  dependencies?: Record<string, string>
  peerDependencies?: Record<string, string>
  peerDependenciesMeta?: Record<string, { optional?: boolean }>
}

/** A package of this repository. */
export interface WorkspacePackage {
  name: string
  /** Absolute. */
  folder: string
  manifest: Manifest
}

/** All workspaces of the repository in `root`, private ones too. */
export function workspacePackages(root: string): WorkspacePackage[] {
  return ['packages', 'apps']
    .flatMap((group) => readdirSync(join(root, group)).map((name) => join(root, group, name)))
    .filter((folder) => existsSync(join(folder, 'package.json')))
    .map((folder) => {
      const manifest: Manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
      return { name: manifest.name, folder, manifest }
    })
}

/** The workspaces that npm users get. */
export function publishedPackages(root: string): WorkspacePackage[] {
  return workspacePackages(root).filter(({ manifest }) => !manifest.private)
}
