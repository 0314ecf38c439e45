import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Alias, defineConfig } from 'vite'
import { bundledLicences } from './bundled-licences.js'
import { offlineCopy, SERVICE_WORKER } from './offline-copy.js'

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const packages = here('../../packages/')

/** Sources stand for the packages of this repository, so that no build of theirs can be stale; what is for browsers before what is for Node. */
const sources: Alias[] = readdirSync(packages)
  .filter((folder) => existsSync(join(packages, folder, 'package.json')))
  .flatMap((folder) => {
    const { name, exports } = JSON.parse(readFileSync(join(packages, folder, 'package.json'), 'utf8'))
    const entry: string | undefined = exports['.'].browser ?? exports['.'].default
    const source = entry?.match(/^\.\/dist\/(.+)\.js$/)?.[1]
    return source ? [{ find: new RegExp(`^${name}$`), replacement: join(packages, folder, 'src', `${source}.ts`) }] : []
  })

/** Engines of TensorFlow.js that the page never asks for; bundled, each would weigh as much as all the rest. */
const absentEngines: Alias = { find: /^@tensorflow\/tfjs-backend-(cpu|webgpu)$/, replacement: here('src/worker/absent-engine.ts') }

const licences = bundledLicences()

export default defineConfig({
  root: here('.'),
  // Relative, so that the folder works under any path.
  base: './',
  // Files that are not there are 404, not the page.
  appType: 'mpa',
  resolve: { alias: [...sources, absentEngines] },
  plugins: [...licences.page, offlineCopy()],
  worker: { format: 'es', plugins: licences.worker },
  cacheDir: here('../../node_modules/.cache/vite-playground'),
  build: {
    target: 'es2022',
    outDir: here('dist'),
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: {
      input: { index: here('index.html'), [SERVICE_WORKER]: here('src/reload/service-worker.ts') },
      // A service worker answers for what lies beside or below it, and is found by its name.
      output: { entryFileNames: ({ name }) => (name === SERVICE_WORKER ? '[name].js' : 'assets/[name]-[hash].js') },
    },
  },
})
