// `node --import tsx --import ./scripts/raw-imports.mjs`: `import text from './name.wgsl?raw'` where sources run unbuilt, as in builds and in Vitest.
import { register } from 'node:module'

register('./raw-imports-hooks.mjs', import.meta.url)
