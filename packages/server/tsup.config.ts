import { defineConfig } from 'tsup'
import { baseOptions } from '../../tsup.base.js'

// The thread of HTTP is started by its file; nobody imports it.
export default defineConfig({
  ...baseOptions,
  entry: ['src/index.ts', 'src/http-worker.ts'],
  dts: { entry: 'src/index.ts', compilerOptions: { paths: {} } },
})
