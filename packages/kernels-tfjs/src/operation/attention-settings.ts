import { layerLambda, type PhsaConfig, phsaConfig } from '@phsa/core'

/** The PHSA settings of one attention, as of a model's only layer (spec 1); those of 4k where they are missing. */
export interface PhsaAttentionSettings extends Partial<Omit<PhsaConfig, 'lambda'>> {
  /** Weight of the global branch, 0 to 1: one number, or one a KV head; also in a list, as the configuration of a model has it. */
  readonly lambda?: PhsaConfig['lambda'] | readonly number[]
}

/** The settings, filled and checked, as the configuration of a model of one layer. @throws InvalidConfigError */
export function oneLayerConfig({ lambda, ...settings }: PhsaAttentionSettings, kvHeads: number): PhsaConfig {
  const config = phsaConfig({ ...settings, lambda: isFlat(lambda) ? [lambda] : lambda })
  // For its check that there is one a KV head.
  layerLambda(config, 0, kvHeads)
  return config
}

function isFlat(lambda: PhsaAttentionSettings['lambda']): lambda is readonly number[] {
  return Array.isArray(lambda) && lambda.every((value) => typeof value === 'number')
}
