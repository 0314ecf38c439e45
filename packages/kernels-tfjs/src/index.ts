export type { EngineName } from './engine.js'
export type { PhsaAttentionSettings } from './operation/attention-settings.js'
export { type PhsaAttentionOptions, phsaAttention } from './operation/phsa-attention.js'
export * from './tfjs.js'
