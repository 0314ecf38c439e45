// A server in this process, and a client that asks it the same twice: once with few blocks, once densely.
//
//   npx tsx --import ./scripts/thread-imports.mjs examples/serve-and-query.ts [model folder]
//
// Without a folder the model is a new one with random weights, so that nothing has to be trained first; its text is nonsense.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { PunctuationTable, phsaConfig } from '@phsa/core'
import { tfjs } from '@phsa/kernels-tfjs'
import { DecoderModel, loadModel } from '@phsa/model'
import { createServer } from '@phsa/server'

const fixture = (path: string) => fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url))
const backend = await tfjs()

function newModel() {
  const tokenizer: unknown = JSON.parse(readFileSync(fixture('tokenizer-8k/tokenizer.json'), 'utf8'))
  const shape = { hiddenSize: 64, intermediateSize: 192, layers: 1, heads: 4, kvHeads: 2, headDim: 16 }
  const rest = { vocabSize: 8192, rmsNormEpsilon: 1e-6, ropeTheta: 10_000, maxPositions: 2048, tieWordEmbeddings: true, eosTokenIds: [] }
  const phsa = phsaConfig({ localTokens: 64, topK: 4 })
  return {
    model: DecoderModel.create({ config: { ...shape, ...rest }, backend, phsa, seed: 1 }),
    punctuation: PunctuationTable.fromTokenizer(tokenizer),
  }
}

const folder = process.argv[2]
const { model, punctuation } = folder ? await loadModel(folder, { backend }) : newModel()
const server = await createServer({
  model,
  punctuation,
  tokenizerFolder: folder ?? fixture('tokenizer-8k'),
  modelName: 'example',
  port: 0,
})

const prompt = gunzipSync(readFileSync(fixture('text/valid.txt.gz')))
  .toString('utf8')
  .slice(0, 1500)
for (const phsa of [{ topK: 4 }, { dense: true }]) {
  const response = await fetch(`${server.url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt, max_tokens: 4, temperature: 0, phsa }),
  })
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`)
  const { choices, usage } = await response.json()
  console.log(JSON.stringify(phsa), JSON.stringify(choices[0].text))
  console.log(`  its queries read ${usage.phsa.activated_tokens} keys; dense ones would ${usage.phsa.visible_tokens}`)
}

await server.close()
model.dispose()
backend.dispose()
