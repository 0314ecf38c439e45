import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative, sep } from 'node:path'
import type { Plugin } from 'vite'

/** The entry of the build that becomes `service-worker.js`, beside the page. */
export const SERVICE_WORKER = 'service-worker'

/** Tells the service worker of a build which files there are, and a version that is another one when any of them is. */
export function offlineCopy(): Plugin {
  return {
    name: 'offline-copy',
    apply: 'build',
    writeBundle({ dir }) {
      const script = join(dir!, `${SERVICE_WORKER}.js`)
      const paths = filesUnder(dir!).filter((path) => path !== script)
      const hash = createHash('sha256')
      for (const path of paths) hash.update(path.slice(dir!.length)).update(createHash('sha256').update(readFileSync(path)).digest())
      // The page is asked for by the folder's own address.
      const files = paths.map((path) =>
        relative(dir!, path)
          .replaceAll(sep, '/')
          .replace(/^index\.html$/, ''),
      )
      const build = { version: hash.digest('hex').slice(0, 16), files }
      writeFileSync(script, `const BUILD = ${JSON.stringify(build)}\n${readFileSync(script, 'utf8')}`)
    },
  }
}

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort()
}
