import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'tsup'

/**
 * Bundles `training-child.ts` with all it imports: what is killed hundreds of times must start in a moment.
 * @param folder gets the script
 * @returns its path
 */
export async function bundleChild(folder: string): Promise<string> {
  await build({
    entry: [fileURLToPath(new URL('training-child.ts', import.meta.url))],
    tsconfig: fileURLToPath(new URL('../../tsconfig.json', import.meta.url)),
    outDir: folder,
    outExtension: () => ({ js: '.mjs' }),
    format: 'esm',
    platform: 'node',
    noExternal: [/./],
    config: false,
    splitting: false,
    silent: true,
  })
  return join(folder, 'training-child.mjs')
}
