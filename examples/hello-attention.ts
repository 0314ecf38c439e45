// One call of PHSA attention: a query reads the blocks of keys that are worth reading, and says which.
//
//   npx tsx examples/hello-attention.ts
import {
  attentionSpec,
  PackedLayout,
  phsaAttention,
  phsaConfig,
  RandomStream,
  sparsity,
  uploadLayout,
  uploadTokenWeights,
} from '@phsa/core'
import { tfjs } from '@phsa/kernels-tfjs'

const TOKENS = 2048
const config = phsaConfig({ localTokens: 128, topK: 4 })
const spec = attentionSpec(config, { heads: 4, kvHeads: 2, headDim: 32, dtype: 'f32' })
const backend = await tfjs()
const { memory } = backend

// Of a model these would be its projections; every ninth token is a comma.
const random = new RandomStream(1)
const rows = (heads: number) =>
  memory.upload(
    Float32Array.from({ length: TOKENS * heads * spec.headDim }, () => random.normal()),
    [TOKENS, heads, spec.headDim],
  )
const punctuation = Uint8Array.from({ length: TOKENS }, (_, token) => (token % 9 === 8 ? 1 : 0))

// One sequence; several would be packed one after the other.
const packed = new PackedLayout([TOKENS], config.blockSize)
const { out, lse, selected } = phsaAttention(backend, {
  q: rows(spec.heads),
  k: rows(spec.kvHeads),
  v: rows(spec.kvHeads),
  weights: uploadTokenWeights(memory, config, { layers: 1, kvHeads: spec.kvHeads }, punctuation, packed).forLayer(0),
  layout: uploadLayout(memory, packed),
  spec,
})

// i32 [KV heads, tokens, topK]: the last row of KV head 0.
const blocks = (await memory.download(selected)).subarray((TOKENS - 1) * spec.topK, TOKENS * spec.topK)
console.log(`out [${out.shape}] and lse [${lse.shape}] on ${backend.device}`)
console.log(`the last query chose blocks ${[...blocks].join(', ')} and skipped ${(100 * sparsity(spec, TOKENS)).toFixed(1)} % of its keys`)
backend.dispose()
