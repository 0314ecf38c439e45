import { defineConfig } from 'tsup'
import { baseOptions } from '../../tsup.base.js'

// Threads are started by their files; nobody imports them.
export default defineConfig({
  ...baseOptions,
  entry: {
    index: 'src/index.ts',
    'http-worker': 'src/http-worker.ts',
    'constraint-worker': 'src/constrain/constraint-worker.ts',
    'text-worker': 'src/texts/text-worker.ts',
  },
})
