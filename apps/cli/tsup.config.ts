import { defineConfig } from 'tsup'
import { baseOptions } from '../../tsup.base.js'

// A program, not a library: no declarations. What its processes run lies beside it.
export default defineConfig({
  ...baseOptions,
  dts: false,
  entry: { main: 'src/main.ts', 'encode-process': 'src/training/encode-process.ts' },
})
