import { existsSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { UsageError } from '../usage-error.js'

/** Folder of the bundled tokenizer, as `TextTokenizer.fromFolder` reads it. */
export function bundledTokenizerFolder(): string {
  return assetPath('tokenizer-8k')
}

/** Folder of the playground's pages. */
export function bundledPlayground(): string {
  return dirname(assetPath('playground/index.html'))
}

/** Folder of the small trained model; a part of the playground, whose page loads it too. */
export function bundledModel(): string {
  return dirname(assetPath('playground/model/model.safetensors'))
}

/** Public-domain English prose that the bundled model was not trained on, documents separated by two blank lines. */
export function bundledText(): string {
  return gunzipSync(readFileSync(assetPath('text/valid.txt.gz'))).toString('utf8')
}

/** The assets lie beside `dist` and beside `src` alike. */
function assetPath(name: string): string {
  const path = fileURLToPath(new URL(`../assets/${name}`, bundleRoot()))
  if (!existsSync(path)) {
    throw new UsageError(`the bundled file ${path} is missing; reinstall the package, or run \`npm run build\` in a checkout.`)
  }
  return path
}

/** `dist/` for the built program, whatever chunk this is in; `src/` for the sources. */
function bundleRoot(): URL {
  const here = new URL('.', import.meta.url)
  return here.pathname.endsWith('/demo/') ? new URL('..', here) : here
}
