import {
  attentionSpec,
  PackedLayout,
  phsaAttention,
  phsaConfig,
  RandomStream,
  reference,
  uploadLayout,
  uploadTokenWeights,
} from '@phsa/core'
import { frobeniusNorm, MODEL_TOLERANCE, relativeError } from '@phsa/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { constraints, input, type LayerVariable, layers, model, type SymbolicTensor } from '@tensorflow/tfjs-layers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { PhsaAttention, type PhsaAttentionArgs } from '../src/layers/index.js'
import { testedEngines } from './tested-engines.js'
import { useEngine } from './use-engine.js'

const PHSA = { blockSize: 4, initTokens: 4, localTokens: 8, topK: 2, lambda: 0.25 }
const FULL = { heads: 4, kvHeads: 2, headDim: 8, qkNorm: true, ropeTheta: 1000, phsa: PHSA } satisfies PhsaAttentionArgs
const HIDDEN = 24

const read = (tensor: tf.Tensor) => tensor.dataSync<'float32'>().slice()
const asTensor = (output: ReturnType<layers.Layer['apply']>) => output as tf.Tensor

function normal(shape: number[], seed: number): tf.Tensor {
  const random = new RandomStream(seed)
  return tf.tensor(
    Float32Array.from({ length: shape.reduce((count, extent) => count * extent, 1) }, () => random.normal()),
    shape,
  )
}

/** Builds a layer for an input, and gives every weight other values than its initializer does: norms and biases would hide behind theirs. */
function buildAtRandom(layer: layers.Layer, x: tf.Tensor): void {
  tf.tidy(() => {
    layer.apply(x)
    layer.setWeights(layer.getWeights().map((weight, index) => tf.mul(normal(weight.shape, 50 + index), 0.4)))
  })
}

describe.each(testedEngines)('on %s', (engine) => {
  beforeEach(async () => {
    await useEngine(engine)
  })
  afterEach(() => {
    expect(tf.memory().numTensors).toBe(0)
  })

  test('it is what the reference computes from its weights', async () => {
    const length = 37
    const layer = new PhsaAttention({ ...FULL, useBias: false })
    const marks = Uint8Array.from({ length }, (_, token) => (token % 5 === 3 ? 1 : 0))
    const x = normal([1, length, HIDDEN], 1)
    buildAtRandom(layer, x)
    const punctuation = tf.tensor2d(marks, [1, length])
    const actual = tf.tidy(() => read(asTensor(layer.apply([x, punctuation]))))

    const backend = await reference()
    const { memory, ops } = backend
    const weight = (name: string) => layer.weights.find(({ originalName }) => originalName.endsWith(`/${name}`)) as LayerVariable
    const vector = (name: string) => memory.upload(read(weight(name).read()), [8])
    // `linear` takes its matrix the other way round.
    const matrix = (name: string) => {
      const values = tf.tidy(() => read(tf.transpose(weight(name).read())))
      return memory.upload(values, (weight(name).shape as number[]).toReversed())
    }
    const rows = memory.upload(read(x), [length, HIDDEN])
    const project = (name: string, heads: number) => memory.reshape(ops.linear(rows, matrix(`${name}_kernel`)), [length, heads, 8])
    const angles = (turn: (angle: number) => number) =>
      memory.upload(
        Float32Array.from({ length: length * 4 }, (_, at) => turn(Math.floor(at / 4) * 1000 ** (-(at % 4) / 4))),
        [length, 4],
      )
    const positions = memory.upload(
      Int32Array.from({ length }, (_, position) => position),
      [length],
    )
    const rope = { cos: angles(Math.cos), sin: angles(Math.sin) }
    const normed = (name: string, heads: number) =>
      ops.qkNormRope({ x: project(name, heads), weight: vector(`${name}_norm`), positions, rope, epsilon: 1e-6 })
    const config = phsaConfig(PHSA)
    const packed = new PackedLayout([length], config.blockSize)
    const { out } = phsaAttention(backend, {
      q: normed('query', 4),
      k: normed('key', 2),
      v: project('value', 2),
      weights: uploadTokenWeights(memory, config, { layers: 1, kvHeads: 2 }, marks, packed).forLayer(0),
      layout: uploadLayout(memory, packed),
      spec: attentionSpec(config, { heads: 4, kvHeads: 2, headDim: 8, dtype: 'f32' }),
    })
    const expected = await memory.download(ops.linear(memory.reshape(out, [length, 32]), matrix('output_kernel')))
    expect(relativeError(actual, expected)).toBeLessThan(MODEL_TOLERANCE)
    backend.dispose()
    tf.dispose([x, punctuation])
    layer.dispose()
  })

  test('every weight gets its gradient', () => {
    // All blocks are selected, so that a small step changes no choice.
    const layer = new PhsaAttention({ ...FULL, phsa: { ...PHSA, topK: 12 } })
    const x = normal([2, 20, HIDDEN], 1)
    buildAtRandom(layer, x)
    const weighting = normal([2, 20, HIDDEN], 2)
    const loss = () => tf.tidy(() => tf.sum(tf.mul(asTensor(layer.apply(x)), weighting)) as tf.Scalar)
    const { value, grads } = tf.variableGrads(loss)
    for (const weight of layer.weights) {
      const [start, gradient] = [read(weight.read()), read(grads[weight.name])]
      const norm = frobeniusNorm(gradient)
      const lossAfter = (step: number) =>
        tf.tidy(() => {
          weight.write(
            tf.tensor(
              start.map((element, at) => element + (step * gradient[at]) / norm),
              weight.shape as number[],
            ),
          )
          return loss().dataSync()[0]
        })
      // Along its own gradient, the loss rises by the gradient's norm.
      expect((lossAfter(0.01) - lossAfter(-0.01)) / 0.02 / norm, weight.originalName).toBeCloseTo(1, 1)
      lossAfter(0)
    }
    tf.dispose([value, grads, x, weighting])
    layer.dispose()
  })
})

describe('masks', () => {
  beforeEach(async () => {
    await useEngine('cpu')
  })

  test('padding after the tokens of a row is neither seen nor answered, and passes on', () => {
    const embedding = layers.embedding({ inputDim: 9, outputDim: HIDDEN, maskZero: true })
    const attention = new PhsaAttention({ ...FULL, useBias: false })
    const ids = input({ shape: [16] })
    const masked = model({ inputs: ids, outputs: attention.apply(embedding.apply(ids)) as SymbolicTensor })
    const held = tf.memory().numTensors
    tf.tidy(() => {
      const row = [3, 1, 4, 1, 5, 2, 6]
      const padded = asTensor(masked.predict(tf.tensor2d([[...row, ...new Array<number>(9).fill(0)]])))
      const alone = asTensor(attention.apply(embedding.apply(tf.tensor2d([row]))))
      expect(relativeError(read(padded).subarray(0, 7 * HIDDEN), read(alone))).toBeLessThan(1e-6)
      expect(read(padded).subarray(7 * HIDDEN)).toEqual(new Float32Array(9 * HIDDEN))
      const mask = tf.ones([1, 16], 'bool')
      expect(attention.computeMask([tf.ones([1, 16, HIDDEN])], [mask])).toBe(mask)
    })
    expect(tf.memory().numTensors).toBe(held)
    masked.dispose()
  })

  test.each<[string, number[][], string]>([
    [
      'before the tokens',
      [
        [1, 1, 1],
        [0, 1, 1],
      ],
      'row 1 of the mask leaves out token 0 but not token 1',
    ],
    [
      'between them',
      [
        [1, 0, 1],
        [1, 1, 1],
      ],
      'row 0 of the mask leaves out token 1 but not token 2',
    ],
    [
      'for another length',
      [
        [1, 1],
        [1, 1],
      ],
      'the mask has shape [2, 2]; for this input it must be [batch, length], here [2, 3]',
    ],
  ])('%s', (_, marks, message) => {
    const layer = new PhsaAttention({ heads: 2 })
    tf.tidy(() => {
      expect(() => layer.apply(tf.ones([2, 3, 8]), { mask: tf.tensor2d(marks, undefined, 'bool') })).toThrow(message)
    })
    layer.dispose()
  })
})

test('a layer made from a configuration has the same one', () => {
  const layer = new PhsaAttention({
    ...FULL,
    kernelConstraint: constraints.maxNorm({ maxValue: 3 }),
    biasConstraint: 'nonNeg',
    trainable: false,
  })
  const config = layer.getConfig()
  expect(config).toMatchObject({
    ...FULL,
    kernelConstraint: { className: 'MaxNorm', config: { maxValue: 3 } },
    biasConstraint: { className: 'NonNeg', config: {} },
    trainable: false,
  })
  expect(PhsaAttention.fromConfig(PhsaAttention, structuredClone(config)).getConfig()).toEqual(config)
})

describe('what is refused', () => {
  test.each<[string, PhsaAttentionArgs, string]>([
    ['heads', {} as PhsaAttentionArgs, 'heads is undefined; it must be a positive integer'],
    ['kvHeads', { heads: 4, kvHeads: 3 }, 'kvHeads is 3; it must divide heads, which is 4'],
    ['headDim', { heads: 4, headDim: 2.5 }, 'headDim is 2.5; it must be a positive integer'],
    ['headDim', { heads: 4, headDim: 5, ropeTheta: 10_000 }, 'headDim is 5; with ropeTheta it must be even'],
    ['ropeTheta', { heads: 4, ropeTheta: 0 }, 'ropeTheta is 0; give a number above 0'],
    ['qkNormEpsilon', { heads: 4, qkNormEpsilon: -1 }, 'qkNormEpsilon is -1'],
    ['lambda', { heads: 4, phsa: { lambda: [0.5, 0.5] } }, 'lambda has 2 values for layer 0; give one for each of its 4 KV heads'],
    ['localTokens', { heads: 4, phsa: { localTokens: 20 } }, 'localTokens is 20; it must be a multiple of blockSize, which is 16'],
  ])('the setting %s', (setting, args, message) => {
    const make = () => new PhsaAttention(args)
    expect(make).toThrow(message)
    expect(make).toThrow(expect.objectContaining({ code: 'invalid-config', setting }))
  })

  test("an initializer that Keras does not know, in Keras's words", () => {
    expect(() => new PhsaAttention({ heads: 2, kernelInitializer: 'best' })).toThrow('Unknown initializer: best')
  })

  test.each<[string, PhsaAttentionArgs, (number | null)[] | (number | null)[][], string]>([
    ['without a length', { heads: 2 }, [null, 8], 'PhsaAttention takes [batch, length, hidden], or that and punctuation'],
    [
      'with a third part',
      { heads: 2 },
      [
        [null, 4, 8],
        [null, 4],
        [null, 4],
      ],
      'PhsaAttention takes',
    ],
    ['that heads do not divide', { heads: 3 }, [null, 4, 8], 'the input has 8 channels, which 3 heads do not divide; set headDim'],
    ['whose heads are odd', { heads: 8, ropeTheta: 100 }, [null, 4, 8], 'headDim is 1; with ropeTheta it must be even'],
    ['of no known width', { heads: 2 }, [null, 4, null], 'the last extent of the input is not known'],
  ])('an input %s', (_, args, shape, message) => {
    expect(() => new PhsaAttention(args).build(shape)).toThrow(message)
  })
})
