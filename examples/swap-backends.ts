// The same attention on two backends: pool, select and attend over a real passage, on the float64 reference and on TensorFlow.js.
//
//   npx tsx examples/swap-backends.ts
//
// q, k and v are random, since no model is involved; the punctuation is that of the passage.
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import {
  type AttentionBackend,
  attentionSpec,
  PackedLayout,
  PunctuationTable,
  phsaAttention,
  phsaConfig,
  RandomStream,
  reference,
  sparsity,
  uploadLayout,
  uploadTokenWeights,
} from '@phsa/core'
import { tfjs } from '@phsa/kernels-tfjs'
import { TextTokenizer } from '@phsa/model'

const TOKENS = 512
const fixture = (path: string) => new URL(`../fixtures/${path}`, import.meta.url)

const tokenizerJson: unknown = JSON.parse(readFileSync(fixture('tokenizer-8k/tokenizer.json'), 'utf8'))
const passage = gunzipSync(readFileSync(fixture('text/valid.txt.gz'))).toString('utf8')
const ids = TextTokenizer.fromJson(tokenizerJson)
  .encode(passage.slice(0, TOKENS * 8))
  .slice(0, TOKENS)
const punctuation = PunctuationTable.fromTokenizer(tokenizerJson).marks(ids)

const heads = { heads: 4, kvHeads: 2, headDim: 32 }
const config = phsaConfig({ localTokens: 64, topK: 4 })
const spec = attentionSpec(config, { ...heads, dtype: 'f32' })
const packed = new PackedLayout([TOKENS], config.blockSize)

async function attend(backend: AttentionBackend): Promise<{ out: Float32Array; selected: Int32Array }> {
  const { memory } = backend
  const random = new RandomStream(7)
  const normal = (count: number) =>
    memory.upload(
      Float32Array.from({ length: TOKENS * count * heads.headDim }, () => random.normal()),
      [TOKENS, count, heads.headDim],
    )
  const [q, k, v] = [normal(heads.heads), normal(heads.kvHeads), normal(heads.kvHeads)]
  const layout = uploadLayout(memory, packed)
  const weights = uploadTokenWeights(memory, config, { layers: 1, kvHeads: heads.kvHeads }, punctuation, packed).forLayer(0)
  const result = phsaAttention(backend, { q, k, v, weights, layout, spec })
  const [out, selected] = await Promise.all([memory.download(result.out), memory.download(result.selected)])
  return { out: out as Float32Array, selected: selected as Int32Array }
}

const marks = punctuation.reduce((count, mark) => count + mark, 0)
console.log(
  `${TOKENS} tokens, ${marks} of them punctuation; at this length a late query skips ${(100 * sparsity(spec, TOKENS)).toFixed(1)} % of its keys`,
)

const results: Awaited<ReturnType<typeof attend>>[] = []
for (const backend of [await reference(), await tfjs()]) {
  results.push(await attend(backend))
  console.log(`${backend.name}: ${backend.device}`)
  backend.dispose()
}
const [truth, portable] = results
const largest = truth.out.reduce((most, value, index) => Math.max(most, Math.abs(value - portable.out[index])), 0)
const agreeing = truth.selected.filter((block, index) => block === portable.selected[index]).length
console.log(`largest difference of out: ${largest.toExponential(1)}; ${agreeing} of ${truth.selected.length} selected entries are the same`)
