import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/**
 * `import source from './name.wgsl?raw'` in builds: the file's text, as Vite and Vitest understand it by themselves.
 *
 * @type {NonNullable<import('tsup').Options['esbuildPlugins']>[number]}
 */
export const shaderText = {
  name: 'shader-text',
  setup(build) {
    build.onResolve({ filter: /\.wgsl\?raw$/ }, ({ path, importer }) => ({
      path: join(dirname(importer), path.replace(/\?raw$/, '')),
      namespace: 'shader-text',
    }))
    build.onLoad({ filter: /.*/, namespace: 'shader-text' }, async ({ path }) => ({
      contents: await readFile(path, 'utf8'),
      loader: 'text',
    }))
  },
}
