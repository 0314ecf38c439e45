import {
  disposeLayout,
  type LayerWeights,
  PackedLayout,
  type PhsaConfig,
  type SelectionPolicy,
  sparsity,
  uploadLayout,
  uploadTokenWeights,
} from '@phsa/core'
import type { DecoderModel } from '@phsa/model'
import { layerRecalls } from '@phsa/trainer'
import { METHODS, type RecallPoint } from '../lab-contract.js'
import type { DocumentAttention } from './document-attention.js'
import { policyOf } from './method-policy.js'
import { queryRows } from './query-rows.js'

/** Blocks a query may choose, from none on. */
export const BUDGETS = [0, 1, 2, 4, 8, 16, 32, 64] as const

/** Queries are the last tokens of the document, where there is most to choose from; of these so many are measured, evenly spread. */
const QUERIES = 512
const MEASURED = 48

/** Recall of every method at every budget that leaves something out (spec 9), on one layer of a document. */
export async function recallByBudget(
  model: DecoderModel,
  document: DocumentAttention,
  phsa: PhsaConfig,
  layer: number,
): Promise<RecallPoint[]> {
  const { backend, config } = model
  const tokens = document.ids.length
  const queries = Math.min(QUERIES, Math.ceil(tokens / 4))
  const measured = Math.min(MEASURED, queries)
  const asked = BUDGETS.filter((topK) => sparsity({ ...phsa, topK }, tokens - queries) > 0).flatMap((topK) =>
    METHODS.map((method) => ({ method, topK, policy: policyOf(method), phsa: { ...phsa, topK } })),
  )
  if (asked.length === 0) return []
  const packed = new PackedLayout([tokens], phsa.blockSize, [queries])
  const whole = new PackedLayout([tokens], phsa.blockSize)
  const layout = uploadLayout(backend.memory, packed)
  const q = queryRows(
    backend,
    document.layers[layer].q,
    Int32Array.from({ length: queries }, (_, row) => tokens - queries + row),
  )
  const weights = new Map<SelectionPolicy, LayerWeights>()
  try {
    for (const { policy } of asked) {
      if (!weights.has(policy))
        weights.set(policy, uploadTokenWeights(backend.memory, policy.configure(phsa), config, document.punctuation, whole))
    }
    const rows = Int32Array.from({ length: measured }, (_, index) => Math.floor(((index + 1) * queries) / measured) - 1)
    const sample = { layer, q, k: document.layers[layer].k, packed, layout, heads: config, rows, past: 0 }
    const recalls = await layerRecalls(backend, sample, asked, (policy) => weights.get(policy)!)
    return asked.map(({ method, topK }, index) => ({ method, topK, recall: recalls[index].recall }))
  } finally {
    for (const made of weights.values()) made.dispose()
    disposeLayout(layout)
    q.dispose()
  }
}
