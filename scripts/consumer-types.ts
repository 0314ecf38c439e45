import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { collected, root } from './command.mjs'

/**
 * Type-checks modules of a project that has packages of ours installed, as a strict user under Node would.
 *
 * @param folder of the project, or of several, where its tsconfig.json is written
 * @param files paths, from `folder`
 */
export function typeCheckConsumers(folder: string, files: readonly string[]) {
  const compilerOptions = {
    target: 'ES2022',
    lib: ['ES2023', 'ESNext.Disposable', 'DOM'],
    module: 'NodeNext',
    strict: true,
    noEmit: true,
    // Of optional peers, which are not there.
    skipLibCheck: true,
    typeRoots: [join(root, 'node_modules/@types')],
    types: ['node'],
  }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }))
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')
  return collected(process.execPath, [tsc, '-p', folder])
}
