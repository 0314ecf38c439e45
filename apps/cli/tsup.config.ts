import { defineConfig } from 'tsup'
import { baseOptions } from '../../tsup.base.js'

// A program, not a library: no declarations.
export default defineConfig({ ...baseOptions, dts: false, entry: ['src/main.ts'] })
