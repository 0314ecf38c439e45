import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const root = fileURLToPath(new URL('.', import.meta.url))

const workspaces = ['packages', 'apps']
  .flatMap((group) => readdirSync(join(root, group)).map((name) => `${group}/${name}`))
  .filter((folder) => existsSync(join(root, folder, 'package.json')))

// Sources, not builds: a test never runs against a stale dist. dist/name.js is built from src/name.ts.
const sourceAliases = workspaces.flatMap((folder) => {
  const { name, exports = {} } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'))
  return Object.entries<{ default?: string }>(exports).flatMap(([subpath, target]) => {
    const source = target.default?.match(/^\.\/dist\/(.+)\.js$/)?.[1]
    return source ? [{ find: new RegExp(`^${name}${subpath.slice(1)}$`), replacement: join(root, folder, 'src', `${source}.ts`) }] : []
  })
})

/**
 * Projects whose test files share a process and the modules that it has loaded, which halves their work. The others open devices and load native
 * libraries, replace modules, or send signals to their own process.
 */
const sharing = ['core', 'model', 'server', 'trainer', 'scripts', 'benchmarks']

/** What the tests of a folder run with. */
function project(folder: string) {
  const name = folder.replace(/^.*\//, '')
  return { extends: true as const, test: { name, root: join(root, folder), include: ['**/*.test.ts'], isolate: !sharing.includes(name) } }
}

export default defineConfig({
  resolve: { alias: sourceAliases },
  test: {
    projects: [...workspaces, 'scripts', 'benchmarks'].map(project),
    testTimeout: 60_000,
    // One more than there are cores: many tests wait for a browser, a server or another process. The default leaves one core idle, half of a small machine.
    maxWorkers: availableParallelism() + 1,
    coverage: {
      provider: 'v8',
      include: ['packages/core/src/**/*.ts'],
      // The conformance suite is itself a test, and barrels hold no code.
      exclude: ['packages/core/src/testing/**', '**/*.test.ts', '**/index.ts'],
      reporter: [['text', { skipFull: true }]],
      reportsDirectory: join(root, 'node_modules/.cache/coverage'),
      thresholds: { 'packages/core/src/**': { lines: 95 } },
    },
  },
})
