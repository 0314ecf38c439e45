export type { EngineName } from './engine.js'
export * from './tfjs.js'
