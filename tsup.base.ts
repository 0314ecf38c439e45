import type { Options } from 'tsup'

/** What every package's build has in common: ESM for Node 20 and current browsers, with declarations and source maps. */
export const baseOptions: Options = {
  format: 'esm',
  target: 'node20',
  clean: true,
  sourcemap: true,
  treeshake: true,
  // No `paths`: declarations of other packages are read as their users get them, from dist, and stay imports.
  dts: { compilerOptions: { paths: {} } },
}
