import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

/** A file's text as the default export of a module. @type {import('node:module').LoadHook} */
export async function load(url, context, nextLoad) {
  if (!/\.wgsl\?raw\b/.test(url)) return nextLoad(url, context)
  const text = await readFile(fileURLToPath(url.replace(/\?.*$/, '')), 'utf8')
  return { format: 'module', source: `export default ${JSON.stringify(text)}`, shortCircuit: true }
}
