import { defineConfig } from 'tsup'
import { baseOptions } from '../../tsup.base.js'

// What its processes run lies beside it.
export default defineConfig({
  ...baseOptions,
  entry: { main: 'src/main.ts', 'encode-process': 'src/training/encode-process.ts' },
})
