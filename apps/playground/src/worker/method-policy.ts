import { infllmV2Policy, meanPoolPolicy, oraclePolicy, type PhsaConfig, phsaConfig, phsaPolicy, type SelectionPolicy } from '@phsa/core'
import type { AttentionSettings, Method } from '../lab-contract.js'

const POLICIES: Readonly<Record<Method, SelectionPolicy>> = {
  oracle: oraclePolicy,
  phsa: phsaPolicy,
  'mean-pool': meanPoolPolicy,
  'infllm-v2': infllmV2Policy,
}

/** The policy of core behind a method. */
export function policyOf(method: Method): SelectionPolicy {
  return POLICIES[method]
}

/** The model's configuration with what the sliders say. @throws InvalidConfigError naming the setting */
export function configOf(settings: AttentionSettings, model: PhsaConfig): PhsaConfig {
  // One representative a block: those of a model that was saved with more would not divide every block size.
  return phsaConfig({ ...settings, representatives: 1, denseBelow: 0, denseLayers: [] }, { ...model, score: 'softmax' })
}
