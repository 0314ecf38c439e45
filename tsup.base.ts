import type { Options } from 'tsup'

/** What every package's build has in common: ESM for Node 20 and current browsers, with source maps. The declarations are tsc's. */
export const baseOptions: Options = {
  format: 'esm',
  target: 'node20',
  clean: true,
  sourcemap: true,
  treeshake: true,
}
