// PHSA attention in a plain TensorFlow.js model: fits next-character prediction on real text, saves the model to a folder, loads it again.
//
//   npx tsx examples/tfjs-layer.ts [folder]
//
// Without a folder, the model goes to a temporary one. A few seconds of training teach which letters are common and which follow each other, not English.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { RandomStream } from '@phsa/core'
import { PhsaAttention } from '@phsa/kernels-tfjs/layers'
import '@tensorflow/tfjs-backend-wasm'
import * as tf from '@tensorflow/tfjs-core'
import { initializers, input, type LayersModel, layers, loadLayersModel, model, type SymbolicTensor } from '@tensorflow/tfjs-layers'

const LENGTH = 128
const HIDDEN = 48
const STEPS = 60
const BATCH = 8
const ALPHABET = " etaoinshrdlucmfwygpbvkxjqz,.;:'-!?"
const random = new RandomStream(1)

/** Passages of a text: their characters one-hot, which of them are punctuation, and the characters that follow each. */
function passages(file: string, count: number) {
  const text = gunzipSync(readFileSync(new URL(`../fixtures/text/${file}`, import.meta.url)))
    .toString('utf8')
    .toLowerCase()
    .replace(/[“”"]/g, '')
    .replace(/’/g, "'")
    .replace(/\s+/g, ' ')
  const starts = Array.from({ length: count }, () => random.below(text.length - LENGTH - 1))
  // What is not in the alphabet counts as a space.
  const ids = (shift: number) =>
    starts.map((start) =>
      Array.from(text.slice(start + shift, start + shift + LENGTH), (character) => Math.max(0, ALPHABET.indexOf(character))),
    )
  const oneHot = (shift: number) =>
    tf.tidy(() => tf.cast(tf.oneHot(tf.tensor2d(ids(shift), undefined, 'int32'), ALPHABET.length), 'float32'))
  const punctuation = tf.tensor2d(ids(0).map((row) => row.map((id) => Number(id >= ALPHABET.indexOf(',')))))
  return { inputs: [oneHot(0), punctuation], targets: oneHot(1) }
}

function characterModel(): LayersModel {
  const kernelInitializer = initializers.glorotUniform({ seed: 1 })
  const dense = (units: number, activation?: 'relu' | 'softmax') =>
    layers.dense({ units, activation, kernelInitializer, useBias: activation !== undefined })
  const characters = input({ shape: [LENGTH, ALPHABET.length] })
  const punctuation = input({ shape: [LENGTH] })
  // Not tf.layers.embedding, whose gradient the wasm engine does not have.
  const hidden = dense(HIDDEN).apply(characters) as SymbolicTensor
  const attention = new PhsaAttention({
    heads: 4,
    kvHeads: 2,
    qkNorm: true,
    ropeTheta: 10_000,
    phsa: { blockSize: 8, initTokens: 8, localTokens: 32, topK: 2 },
    kernelInitializer,
  })
  const attended = attention.apply([hidden, punctuation]) as SymbolicTensor
  const mixed = dense(2 * HIDDEN, 'relu').apply(layers.add().apply([hidden, attended]))
  return model({ inputs: [characters, punctuation], outputs: dense(ALPHABET.length, 'softmax').apply(mixed) as SymbolicTensor })
}

/** A folder with model.json and weights.bin, as `tf.loadLayersModel` also takes it from a web server. */
function inFolder(folder: string): tf.io.IOHandler {
  return {
    async save({ weightData, weightSpecs, ...rest }) {
      const description: tf.io.ModelJSON = {
        ...rest,
        modelTopology: rest.modelTopology as object,
        weightsManifest: [{ paths: ['weights.bin'], weights: weightSpecs as tf.io.WeightsManifestEntry[] }],
      }
      mkdirSync(folder, { recursive: true })
      writeFileSync(join(folder, 'model.json'), JSON.stringify(description))
      writeFileSync(join(folder, 'weights.bin'), new Uint8Array(tf.io.CompositeArrayBuffer.join(weightData)))
      return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } }
    },
    load: () =>
      tf.io.getModelArtifactsForJSON(JSON.parse(readFileSync(join(folder, 'model.json'), 'utf8')), async ([{ weights }]) => [
        weights,
        Uint8Array.from(readFileSync(join(folder, 'weights.bin'))).buffer,
      ]),
  }
}

await tf.setBackend('wasm')
// So that a model file may name it.
tf.serialization.registerClass(PhsaAttention)

const trained = characterModel()
trained.compile({ optimizer: tf.train.adam(0.006), loss: 'categoricalCrossentropy' })
const [train, valid] = [passages('train.txt.gz', STEPS * BATCH), passages('valid.txt.gz', 16)]
const lossOf = async (fitted: LayersModel) => {
  const loss = fitted.evaluate(valid.inputs, valid.targets, { batchSize: BATCH }) as tf.Scalar
  return (await loss.data())[0]
}

console.log(
  `${trained.countParams()} parameters; a character of ${ALPHABET.length} by chance costs ${Math.log(ALPHABET.length).toFixed(2)} nats`,
)
console.log(`loss on unseen text before: ${(await lossOf(trained)).toFixed(3)}`)
await trained.fit(train.inputs, train.targets, { epochs: 1, batchSize: BATCH, shuffle: false, verbose: 0 })
console.log(`loss on unseen text after ${STEPS} steps: ${(await lossOf(trained)).toFixed(3)}`)

const temporary = process.argv[2] === undefined
const folder = process.argv[2] ?? mkdtempSync(join(tmpdir(), 'phsa-layer-'))
await trained.save(inFolder(folder))
const loaded = await loadLayersModel(inFolder(folder))
const predict = (fitted: LayersModel) => (fitted.predict(valid.inputs) as tf.Tensor).dataSync()
const [before, after] = [predict(trained), predict(loaded)]
console.log(`saved and loaded: ${before.every((value, index) => value === after[index]) ? 'the same predictions' : 'other predictions'}`)
if (temporary) rmSync(folder, { recursive: true })
