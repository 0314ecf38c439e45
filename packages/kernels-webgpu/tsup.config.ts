import { defineConfig } from 'tsup'
import { baseOptions } from '../../tsup.base.js'
import { shaderText } from './scripts/shader-text.mjs'

export default defineConfig({
  ...baseOptions,
  entry: ['src/index.ts'],
  esbuildPlugins: [shaderText],
  // The bundled declarations lose it, and GPUDevice is in no library of TypeScript 5.
  dts: { compilerOptions: { paths: {} }, banner: '/// <reference types="@webgpu/types" />' },
})
