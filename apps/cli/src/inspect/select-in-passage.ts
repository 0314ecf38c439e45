import type { PunctuationTable } from '@phsa/core'
import { attentionSpec, densePolicy, PackedLayout, type SelectionPolicy, type Tensor, uploadLayout, uploadTokenWeights } from '@phsa/core'
import { type DecoderModel, tokenBatch } from '@phsa/model'
import type { PassageMap, PolicyMap } from '../report/passage-map.js'

export interface PassageQuestion {
  readonly model: DecoderModel
  readonly punctuation: PunctuationTable
  readonly ids: Int32Array
  readonly policies: readonly SelectionPolicy[]
  readonly layer: number
  readonly kvHead: number
  /** Positions whose selection is wanted, ascending; the last one's block masses are measured too. */
  readonly queries: readonly number[]
  readonly topK: number
}

/** Adds what queries select to a passage, from the queries and keys of one layer of a model that attends densely: every policy sees the same ones. */
export async function selectInPassage(passage: PassageMap, question: PassageQuestion): Promise<PassageMap> {
  const { model, layer, kvHead, queries, policies, topK } = question
  const measured = measure(question)
  try {
    const maps: PolicyMap[] = []
    for (const [index, policy] of policies.entries()) {
      maps.push({ policy: policy.name, selected: await rowsOf(model, measured.selected[index], question) })
    }
    const mass = await model.backend.memory.download(measured.mass)
    const group = model.config.heads / model.config.kvHeads
    const blocks = mass.length / model.config.kvHeads
    return {
      ...passage,
      topK,
      queries,
      query: queries[queries.length - 1],
      policies: maps,
      mass: Array.from(mass.subarray(kvHead * blocks, (kvHead + 1) * blocks), (share) => share / group),
      source: `layer ${layer}, KV head ${kvHead}`,
    }
  } finally {
    for (const tensor of [...measured.selected, measured.mass]) tensor.dispose()
  }
}

/** selected i32 [Hkv, T, topK] for each policy, and block masses f32 [Hkv, 1, blocks] of the last query. */
function measure({ model, punctuation, ids, policies, layer, queries, topK }: PassageQuestion): { selected: Tensor[]; mass: Tensor } {
  const { backend, config } = model
  const { memory } = backend
  const phsa = { ...model.phsa, topK }
  return memory.scope(() => {
    const batch = tokenBatch([ids], punctuation)
    const { q, k } = model.attentionInputs(batch, { policy: densePolicy, phsa })[layer]
    const packed = new PackedLayout([ids.length], phsa.blockSize)
    const layout = uploadLayout(memory, packed)
    const base = attentionSpec(phsa, { ...config, dtype: model.dtype })
    const selected = policies.map((policy) => {
      const weights = uploadTokenWeights(memory, policy.configure(phsa), config, batch.punctuation, packed).forLayer(layer)
      return policy.select(backend, { q, k, weights, layout, spec: policy.spec(base) })
    })
    const rows = memory.upload(Int32Array.of(queries[queries.length - 1]), [1])
    return { selected, mass: backend.attention.blockMass({ q, k, rows, layout, spec: base }) }
  })
}

async function rowsOf(model: DecoderModel, selected: Tensor, { kvHead, queries, ids, topK }: PassageQuestion): Promise<number[][]> {
  const values = await model.backend.memory.download(selected)
  return queries.map((query) => {
    const start = (kvHead * ids.length + query) * topK
    return Array.from(values.subarray(start, start + topK)).filter((block) => block >= 0)
  })
}
