export type { PhsaAttentionSettings } from '../operation/attention-settings.js'
export type { WeightArgs } from './keras-objects.js'
export type { LayerSettingsArgs } from './layer-settings.js'
export * from './phsa-attention.js'
