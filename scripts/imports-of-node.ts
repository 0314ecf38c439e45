import { build } from 'vite'

/**
 * What a bundle for web pages would import of Node.
 * @param entry path of a module
 * @param external packages that are not looked into
 * @returns a line an import: `node:fs in /src/folder.ts`
 */
export async function importsOfNode(entry: string, external: RegExp): Promise<string[]> {
  const found = new Set<string>()
  await build({
    configFile: false,
    logLevel: 'error',
    plugins: [
      {
        name: 'imports-of-node',
        enforce: 'pre',
        resolveId(id, importer) {
          if (!id.startsWith('node:')) return undefined
          found.add(`${id} in ${importer?.replace(/^.*(?=\/src\/)/, '')}`)
          return { id, external: true }
        },
      },
    ],
    build: { write: false, minify: false, lib: { entry, formats: ['es'] }, rollupOptions: { external } },
  })
  return [...found]
}
