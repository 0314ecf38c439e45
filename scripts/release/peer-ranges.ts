import { writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { output } from '../command.mjs'
import { publishedPackages } from '../published-packages.js'

/**
 * Writes the peer ranges of the packages that get a new version, to be called after `changeset version`: they were tested with the packages of this
 * tree and may need what is new in them, so that their ranges on them begin at these versions and end before the next major.
 *
 * @param root a checkout of this repository, whose HEAD has the versions of the last release
 */
export function raisePeerRanges(root: string): void {
  const packages = publishedPackages(root)
  const versions = new Map(packages.map(({ name, manifest }) => [name, manifest.version]))
  for (const { folder, manifest } of packages) {
    const path = relative(root, folder).replaceAll('\\', '/')
    if (JSON.parse(output('git', ['show', `HEAD:${path}/package.json`], { cwd: root })).version === manifest.version) continue
    const peers = Object.keys(manifest.peerDependencies ?? {}).filter((name) => versions.has(name))
    if (peers.length === 0) continue
    for (const name of peers) manifest.peerDependencies![name] = peerRange(versions.get(name)!)
    writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
  }
}

/** Such as `>=0.2.0 <1.0.0`: `0.x` would take a version that lacks what the release needs, and changesets would make `1.0.0` of it. */
function peerRange(version: string): string {
  return `>=${version} <${Number.parseInt(version, 10) + 1}.0.0`
}
