import { densePolicy, type PhsaConfig, phsaConfig, randomPolicy, type SelectionPolicy, selectionPolicy } from '@phsa/core'

/** A policy with the configuration that it runs with. */
export interface PolicyVariant {
  readonly policy: SelectionPolicy
  readonly phsa: PhsaConfig
}

/** What an evaluation compares. */
export interface PolicyVariantOptions {
  readonly policies: readonly (SelectionPolicy | string)[]
  readonly topKs: readonly number[]
  readonly phsa: PhsaConfig
  /** Decides the blocks of policy `random`, whatever seed it has. */
  readonly seed: number
}

/**
 * The lines of an evaluation's table: dense, the control, then each policy at each topK.
 * @throws InvalidConfigError for a name or a topK that is not known
 */
export function policyVariants({ policies, topKs, phsa, seed }: PolicyVariantOptions): PolicyVariant[] {
  const chosen = policies.map((policy) => (typeof policy === 'string' ? selectionPolicy(policy) : policy))
  const configs = topKs.map((topK) => phsaConfig({ topK }, phsa))
  const sparse = chosen.filter(({ name }) => name !== 'dense')
  return [
    { policy: densePolicy, phsa },
    // A stream for each line: otherwise what it draws would depend on which lines are measured before it.
    ...sparse.flatMap((policy) =>
      configs.map((config) => ({ policy: policy.name === 'random' ? randomPolicy(seed) : policy, phsa: config })),
    ),
  ]
}
