import { execFileSync } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { PIPES } from './pipe-collective.js'

/** A new pair of named pipes for `pipeCollective`. @returns their folder */
export function makePipes(parent: string): string {
  const folder = mkdtempSync(join(parent, 'pipes-'))
  for (const name of PIPES) execFileSync('mkfifo', [join(folder, name)])
  return folder
}
