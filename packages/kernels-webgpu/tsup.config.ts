import { defineConfig } from 'tsup'
import { baseOptions } from '../../tsup.base.js'
import { shaderText } from './scripts/shader-text.mjs'

export default defineConfig({
  ...baseOptions,
  entry: ['src/index.ts'],
  esbuildPlugins: [shaderText],
})
