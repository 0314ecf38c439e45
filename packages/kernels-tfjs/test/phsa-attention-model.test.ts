import { RandomStream } from '@phsa/core'
import '@tensorflow/tfjs-backend-wasm'
import * as tf from '@tensorflow/tfjs-core'
import {
  initializers,
  input,
  type LayersModel,
  layers,
  loadLayersModel,
  model,
  regularizers,
  type SymbolicTensor,
} from '@tensorflow/tfjs-layers'
import { afterEach, beforeAll, expect, test } from 'vitest'
import { PhsaAttention, type PhsaAttentionArgs } from '../src/layers/index.js'

const LENGTH = 40
const TOKENS = 6
const PHSA = { blockSize: 4, initTokens: 4, localTokens: 8, topK: 2 }

/**
 * Each row draws tokens and marks one of them; from there on, the answer is that token. Only attention can carry it.
 * @returns x [rows, LENGTH, TOKENS + 1], one-hot tokens and the mark; y [rows, LENGTH, TOKENS], zeros before the mark
 */
function recallTask(rows: number, seed: number): { x: tf.Tensor3D; y: tf.Tensor3D } {
  const random = new RandomStream(seed)
  const x = tf.buffer([rows, LENGTH, TOKENS + 1])
  const y = tf.buffer([rows, LENGTH, TOKENS])
  for (let row = 0; row < rows; row++) {
    const marked = random.below(LENGTH / 2)
    let answer = -1
    for (let position = 0; position < LENGTH; position++) {
      const token = random.below(TOKENS)
      x.set(1, row, position, token)
      if (position === marked) {
        x.set(1, row, position, TOKENS)
        answer = token
      }
      if (position >= marked) y.set(1, row, position, answer)
    }
  }
  return { x: x.toTensor() as tf.Tensor3D, y: y.toTensor() as tf.Tensor3D }
}

function recallModel(): LayersModel {
  const kernelInitializer = initializers.glorotUniform({ seed: 3 })
  const x = input({ shape: [LENGTH, TOKENS + 1] })
  const hidden = layers.dense({ units: 16, useBias: false, kernelInitializer }).apply(x)
  const attended = new PhsaAttention({ heads: 2, kvHeads: 1, phsa: PHSA, kernelInitializer }).apply(hidden)
  const out = layers.dense({ units: TOKENS, activation: 'softmax', kernelInitializer }).apply(attended)
  return model({ inputs: x, outputs: out as SymbolicTensor })
}

/** Share of rows whose last answer is right. */
function accuracy(trained: LayersModel, { x, y }: ReturnType<typeof recallTask>): number {
  return tf.tidy(() => {
    const last = (values: tf.Tensor) => tf.argMax(tf.slice(values, [0, LENGTH - 1, 0], [-1, 1, -1]), -1)
    return tf.mean(tf.cast(tf.equal(last(trained.predict(x) as tf.Tensor), last(y)), 'float32')).dataSync()[0]
  })
}

beforeAll(async () => {
  await tf.setBackend('wasm')
  tf.serialization.registerClass(PhsaAttention)
})

afterEach(() => {
  expect(tf.memory().numTensors).toBe(0)
})

/** What `model.save` would send somewhere. */
async function savedModel(trained: LayersModel): Promise<tf.io.ModelArtifacts> {
  let saved: tf.io.ModelArtifacts = {}
  await trained.save(
    tf.io.withSaveHandler(async (artifacts) => {
      // As text, like a file.
      saved = { ...artifacts, modelTopology: JSON.parse(JSON.stringify(artifacts.modelTopology)) }
      return { modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(artifacts) }
    }),
  )
  return saved
}

const predictions = (trained: LayersModel, x: tf.Tensor | tf.Tensor[]) =>
  tf.tidy(() => (trained.predict(x) as tf.Tensor).dataSync<'float32'>().slice())

test('a model learns to recall a token that only attention can carry; saved and loaded, it predicts the same', async () => {
  const trained = recallModel()
  const [train, unseen] = [recallTask(128, 1), recallTask(128, 2)]
  const optimizer = tf.train.adam(0.02)
  trained.compile({ optimizer, loss: 'categoricalCrossentropy' })
  expect(accuracy(trained, unseen)).toBeLessThan(0.4)
  const { history } = await trained.fit(train.x, train.y, { epochs: 7, batchSize: 16, shuffle: false, verbose: 0 })
  const losses = history.loss as number[]
  expect(losses[6]).toBeLessThan(losses[0] / 20)
  expect(accuracy(trained, unseen)).toBeGreaterThan(0.95)

  const loaded = await loadLayersModel(tf.io.fromMemory(await savedModel(trained)))
  expect(predictions(loaded, unseen.x)).toEqual(predictions(trained, unseen.x))
  expect(loaded.layers.map((layer) => layer.getConfig())).toEqual(trained.layers.map((layer) => layer.getConfig()))
  tf.dispose([train, unseen])
  for (const each of [trained, loaded]) each.dispose()
  optimizer.dispose()
})

test('every argument outlives saving and loading', async () => {
  const args = {
    name: 'attention',
    heads: 4,
    kvHeads: 2,
    headDim: 6,
    useBias: false,
    qkNorm: true,
    qkNormEpsilon: 1e-5,
    ropeTheta: 500_000,
    phsa: { ...PHSA, lambda: [[0.25, 1]], representatives: 2, score: 'logit', denseBelow: 3 },
    kernelInitializer: 'heNormal',
    kernelRegularizer: regularizers.l2({ l2: 0.5 }),
    biasInitializer: initializers.constant({ value: 2 }),
  } satisfies PhsaAttentionArgs
  const tokens = input({ shape: [10, 12] })
  const punctuation = input({ shape: [10] })
  const built = model({ inputs: [tokens, punctuation], outputs: new PhsaAttention(args).apply([tokens, punctuation]) as SymbolicTensor })
  const loaded = await loadLayersModel(tf.io.fromMemory(await savedModel(built)))
  const config = loaded.getLayer('attention').getConfig()
  expect(config).toEqual(built.getLayer('attention').getConfig())
  expect(config).toMatchObject({
    ...args,
    kernelInitializer: { className: 'VarianceScaling', config: { scale: 2, mode: 'fanIn', distribution: 'normal' } },
    kernelRegularizer: { className: 'L1L2', config: { l1: 0, l2: 0.5 } },
    biasInitializer: { className: 'Constant', config: { value: 2 } },
    biasRegularizer: null,
  })
  expect(loaded.weights.map(({ originalName, shape }) => [originalName, shape])).toEqual([
    ['attention/query_kernel', [12, 24]],
    ['attention/key_kernel', [12, 12]],
    ['attention/value_kernel', [12, 12]],
    ['attention/output_kernel', [24, 12]],
    ['attention/query_norm', [6]],
    ['attention/key_norm', [6]],
  ])
  const x = [tf.randomNormal([2, 10, 12], 0, 1, 'float32', 5), tf.randomUniform([2, 10], 0, 2, 'int32', 6)]
  expect(predictions(loaded, x)).toEqual(predictions(built, x))
  tf.dispose(x)
  for (const each of [built, loaded]) each.dispose()
})
