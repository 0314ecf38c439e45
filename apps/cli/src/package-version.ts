import { readFileSync } from 'node:fs'

/** Version of this program. `src` and `dist` both lie beside package.json. */
export function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
  return version
}
