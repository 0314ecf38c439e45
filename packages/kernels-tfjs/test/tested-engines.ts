import type { EngineName } from '../src/index.js'

/** The engines that tests run on: those that come with the package, or those that PHSA_TFJS_ENGINES names, with commas between. */
export const testedEngines = (process.env.PHSA_TFJS_ENGINES ?? 'wasm,cpu').split(',') as EngineName[]
