import { createRequire } from 'node:module'
import { fileURLToPath, pathToFileURL } from 'node:url'

const pathOf = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const scripts = new URL('../../../scripts/', import.meta.url)
const imports = [
  pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href,
  ...['raw-imports.mjs', 'thread-imports.mjs'].map((name) => new URL(name, scripts).href),
]

/**
 * What Node runs for `phsa`: its sources, or with PHSA_BUILT=1 what was built of them, which starts in a third of the time: `npm test` has just built it.
 */
export const phsaCommand: readonly string[] =
  process.env.PHSA_BUILT === '1' ? [pathOf('../bin/phsa.js')] : [...imports.flatMap((url) => ['--import', url]), pathOf('../src/main.ts')]

/** What its environment needs. */
export const phsaEnvironment: NodeJS.ProcessEnv = { TSX_TSCONFIG_PATH: pathOf('../tsconfig.json') }
