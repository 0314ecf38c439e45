import { defineConfig } from 'tsup'
import { baseOptions } from '../../tsup.base.js'

export default defineConfig({
  ...baseOptions,
  entry: ['src/index.ts'],
  // The kernels lie in dist too, and take longer to build.
  clean: ['!phsa-kernels.*'],
})
