import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Machine code of a development build: Hopper only, because each target takes as long again. */
export const DEVELOPMENT_TARGETS = ['sm_90a']
/** What is published: Ampere, Ada, Hopper, and PTX for everything later. */
export const RELEASE_TARGETS = ['sm_80', 'sm_89', 'sm_90a', 'compute_80']
/** Written for one generation: wgmma, the tensor memory accelerator. */
const HOPPER_ONLY = /_sm90\.cu$/

/** Size of the published fatbin at most, bytes. */
export const MOST_BYTES = 8e6

/**
 * The kernels of a folder: each `.cu` is compiled on its own, `.cuh` are headers of all.
 *
 * @param {string} folder of `kernels/`
 * @returns {{ name: string, file: string, hopperOnly: boolean, hash: string }[]} with a hash of the file and all headers
 */
export function kernelSources(folder) {
  const names = readdirSync(folder).sort()
  const headers = names.filter((name) => name.endsWith('.cuh'))
  const hashOf = (/** @type {string[]} */ files) => {
    const hash = createHash('sha256')
    for (const file of files)
      hash
        .update(`${file}\0`)
        .update(readFileSync(join(folder, file)))
        .update('\0')
    return hash.digest('hex')
  }
  return names
    .filter((name) => name.endsWith('.cu'))
    .map((name) => ({
      name: name.slice(0, -3),
      file: join(folder, name),
      hopperOnly: HOPPER_ONLY.test(name),
      hash: hashOf([name, ...headers]),
    }))
}

/**
 * One hash for all sources: a fatbin that was built from others is stale.
 *
 * @param {{ name: string, hash: string }[]} sources
 */
export function hashOfAll(sources) {
  const hash = createHash('sha256')
  for (const source of sources) hash.update(`${source.name} ${source.hash}\n`)
  return hash.digest('hex')
}

/**
 * Why the built kernels may not be published, or undefined where they may.
 *
 * @param {string} dist folder of the fatbin and its index
 * @param {{ name: string, hash: string }[]} sources
 * @returns {string | undefined}
 */
export function whyStale(dist, sources) {
  const [fatbin, index] = [join(dist, 'phsa-kernels.fatbin'), join(dist, 'phsa-kernels.json')]
  if (!existsSync(fatbin) || !existsSync(index)) return 'they were not built'
  const { sourceHash, targets } = JSON.parse(readFileSync(index, 'utf8'))
  if (sourceHash !== hashOfAll(sources)) return 'the sources have changed since they were built'
  const missing = RELEASE_TARGETS.filter((target) => !targets.includes(target))
  if (missing.length > 0) return `they were built for ${targets.join(', ')} only, without ${missing.join(', ')}`
  return undefined
}
