import { defineConfig } from 'tsup'
import { baseOptions } from '../../tsup.base.js'

// Vitest is an optional peer: only a test file that already runs under it gets that far.
export default defineConfig({
  ...baseOptions,
  entry: ['src/index.ts', 'src/testing/index.ts', 'src/testing/vitest.ts'],
  external: ['vitest'],
})
