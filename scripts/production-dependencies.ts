/** What is read here of an entry of package-lock.json. */
export interface LockedPackage {
  version?: string
  license?: string
  link?: boolean
  resolved?: string
  dependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
  peerDependencies?: Record<string, string>
  peerDependenciesMeta?: Record<string, { optional?: boolean }>
}

/**
 * What users of some workspaces install, on any platform: their dependencies and peers with all that these need. Optional peers are what a user
 * chose, and of no account.
 *
 * @param lock `packages` of package-lock.json
 * @param workspaces folders, such as `packages/core`
 * @returns the entries by their path, such as `node_modules/yaml`
 * @throws Error where the lockfile lacks a dependency
 */
export function productionDependencies(lock: Record<string, LockedPackage>, workspaces: readonly string[]): Map<string, LockedPackage> {
  const found = new Map<string, LockedPackage>()
  const waiting = [...workspaces]
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    const { dependencies = {}, optionalDependencies = {}, peerDependencies = {}, peerDependenciesMeta = {} } = lock[path]
    const peers = Object.keys(peerDependencies).filter((name) => !peerDependenciesMeta[name]?.optional)
    for (const name of [...Object.keys(dependencies), ...Object.keys(optionalDependencies), ...peers]) {
      const target = placeOf(name, path, lock)
      if (found.has(target)) continue
      if (!lock[target].link) found.set(target, lock[target])
      // Links are workspaces, which lead on from where they lie.
      waiting.push(lock[target].link ? lock[target].resolved! : target)
    }
  }
  return found
}

/** Where Node finds a package that is imported from `path`. */
function placeOf(name: string, path: string, lock: Record<string, LockedPackage>): string {
  for (let from = path; ; from = from.slice(0, Math.max(from.lastIndexOf('/'), 0))) {
    const place = from === '' ? `node_modules/${name}` : `${from}/node_modules/${name}`
    if (place in lock) return place
    if (from === '') throw new Error(`package-lock.json has no ${name} for ${path}; run \`npm install\`.`)
  }
}
