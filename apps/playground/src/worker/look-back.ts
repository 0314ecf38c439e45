import {
  attentionMassRecall,
  attentionSpec,
  type BlockScores,
  PackedLayout,
  type PhsaConfig,
  type Tensor,
  topBlocks,
  uploadLayout,
  uploadTokenWeights,
} from '@phsa/core'
import type { DecoderModel } from '@phsa/model'
import { type HeadLookBack, METHODS, type Method, type MethodChoice } from '../lab-contract.js'
import type { DocumentAttention } from './document-attention.js'
import { policyOf } from './method-policy.js'
import { queryRows } from './query-rows.js'

/** One query of one layer, and the configuration of the comparison. */
export interface LookBackInput {
  readonly model: DecoderModel
  readonly document: DocumentAttention
  readonly phsa: PhsaConfig
  readonly query: number
  readonly layer: number
}

/** Methods that choose on the device; the oracle's choice is read off the masses. */
const GUESSES = METHODS.filter((method) => method !== 'oracle')

/** What each method chooses for one query, and the exact attention mass of each block (spec 4, 9). One result a key/value head. */
export async function lookBack(input: LookBackInput): Promise<HeadLookBack[]> {
  const { model, query, phsa } = input
  const { memory } = model.backend
  const { mass, selected } = queue(input)
  try {
    const [values, ...chosen] = await Promise.all([memory.download(mass), ...selected.map((tensor) => memory.download(tensor))])
    const maxBlocks = mass.shape[2]
    const scores: BlockScores = { values, maxBlocks, positions: [query] }
    const spec = attentionSpec(phsa, { ...model.config, dtype: model.dtype })
    const blocksOf = new Map<Method, ArrayLike<number>>(GUESSES.map((method, index) => [method, chosen[index]]))
    blocksOf.set('oracle', topBlocks(scores, spec))
    const recalls = new Map(METHODS.map((method) => [method, attentionMassRecall(scores, blocksOf.get(method)!, spec, 0).byHead]))
    const group = spec.heads / spec.kvHeads
    return Array.from({ length: spec.kvHeads }, (_, head) => {
      const choice = (method: Method): MethodChoice => ({
        blocks: Array.from({ length: spec.topK }, (_, rank) => blocksOf.get(method)![head * spec.topK + rank]).filter(
          (block) => block >= 0,
        ),
        recall: recalls.get(method)![head],
      })
      const choices = Object.fromEntries(METHODS.map((method) => [method, choice(method)])) as Record<Method, MethodChoice>
      return { mass: Float32Array.from(values.subarray(head * maxBlocks, (head + 1) * maxBlocks), (sum) => sum / group), choices }
    })
  } finally {
    for (const tensor of [mass, ...selected]) tensor.dispose()
  }
}

/** mass f32 [Hkv, 1, blocks], and for each of `GUESSES` its selection i32 [Hkv, 1, topK]. */
function queue({ model, document, phsa, query, layer }: LookBackInput): { mass: Tensor; selected: Tensor[] } {
  const { backend, config } = model
  const { memory, attention } = backend
  const { q, k } = document.layers[layer]
  // The query is the last of a sequence that ends with it; keys beyond it are rows of no sequence.
  const packed = new PackedLayout([query + 1], phsa.blockSize, [1])
  const whole = new PackedLayout([document.ids.length], phsa.blockSize)
  return memory.scope(() => {
    const layout = uploadLayout(memory, packed, { keyTokens: document.ids.length })
    const row = queryRows(backend, q, Int32Array.of(query))
    const base = attentionSpec(phsa, { ...config, dtype: model.dtype })
    const selected = GUESSES.map((method) => {
      const policy = policyOf(method)
      const weights = uploadTokenWeights(memory, policy.configure(phsa), config, document.punctuation, whole).forLayer(layer)
      return policy.select(backend, { q: row, k, weights, layout, spec: policy.spec(base) })
    })
    const mass = attention.blockMass({ q: row, k, rows: memory.upload(Int32Array.of(0), [1]), layout, spec: base })
    return { mass, selected }
  })
}
