import {
  type AttentionBackend,
  attentionMassRecall,
  attentionSpec,
  type BlockScores,
  densePolicy,
  type LayerWeights,
  type Layout,
  type PhsaConfig,
  type SelectionPolicy,
  type Tensor,
  topBlocks,
} from '@phsa/core'

/** A policy with the configuration that it runs with. */
export interface PolicyVariant {
  readonly policy: SelectionPolicy
  readonly phsa: PhsaConfig
}

/** One layer's attention of a batch, as the dense forward made it, and the queries to measure. */
export interface LayerSample {
  readonly backend: AttentionBackend
  readonly layer: number
  /** [T, Hq, D] and [T, Hkv, D]. */
  readonly q: Tensor
  readonly k: Tensor
  readonly layout: Layout
  readonly heads: { readonly heads: number; readonly kvHeads: number; readonly headDim: number }
  /** Query rows, [n], and the position of each in its sequence. */
  readonly rows: Int32Array
  readonly positions: Int32Array
}

/**
 * Attention-mass recall of each variant on one layer (spec 9). The block masses are computed once, for all of them.
 * @param weightsOf token weights of a policy's configuration; topK has no part in them
 * @returns recall of each variant, 0 to 1
 */
export async function layerRecalls(
  sample: LayerSample,
  variants: readonly PolicyVariant[],
  weightsOf: (policy: SelectionPolicy) => LayerWeights,
): Promise<number[]> {
  const { backend, layer, q, k, layout, heads, rows, positions } = sample
  const { memory } = backend
  const planned = variants.map((variant) => {
    const phsa = variant.policy.configure(variant.phsa)
    const policy = phsa.denseLayers.includes(layer) ? densePolicy : variant.policy
    return { variant, policy, spec: policy.spec(attentionSpec(phsa, { ...heads, dtype: q.dtype })) }
  })
  const measured = memory.scope(() => {
    const deviceRows = memory.upload(rows, [rows.length])
    const mass = backend.attention.blockMass({ q, k, rows: deviceRows, layout, spec: planned[0].spec })
    const selections = planned.map(({ variant, policy, spec }) =>
      // The oracle's choice is read off the masses, and dense has none.
      policy.name === 'oracle' || policy.name === 'dense'
        ? undefined
        : policy.select(backend, { q, k, layout, spec, weights: weightsOf(variant.policy).forLayer(layer) }),
    )
    return { mass, selections }
  })
  try {
    const [values, ...selections] = await Promise.all(
      [measured.mass, ...measured.selections].map((tensor) => (tensor ? memory.download(tensor) : undefined)),
    )
    const scores: BlockScores = { values: values!, maxBlocks: layout.maxBlocks, positions }
    return planned.map(({ policy, spec }, index) => {
      const whole = selections[index]
      const selected = whole ? pickRows(whole, rows, layout.queryTokens, spec) : policy.name === 'oracle' ? topBlocks(scores, spec) : []
      return attentionMassRecall(scores, selected, spec, 0).recall
    })
  } finally {
    for (const tensor of [measured.mass, ...measured.selections]) tensor?.dispose()
  }
}

/** [Hkv, Tq, topK] -> [Hkv, n, topK]. */
function pickRows(
  selected: ArrayLike<number>,
  rows: Int32Array,
  queryTokens: number,
  { kvHeads, topK }: { kvHeads: number; topK: number },
): Int32Array {
  const picked = new Int32Array(kvHeads * rows.length * topK)
  for (let target = 0; target < picked.length; target++) {
    const flat = Math.floor(target / topK)
    const source = Math.floor(flat / rows.length) * queryTokens + rows[flat % rows.length]
    picked[target] = selected[source * topK + (target % topK)]
  }
  return picked
}
