import { PHSA_4K, type PhsaConfig, phsaConfig } from '@phsa/core'
import { relativeError, rowwiseError, tolerancesFor } from '@phsa/core/testing'
import * as tf from '@tensorflow/tfjs-core'
// Registers the gradients of TensorFlow.js's own operations.
import '@tensorflow/tfjs-layers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type PhsaAttentionOptions, phsaAttention } from '../src/index.js'
import { type BatchProblem, batchProblem, referenceAttention } from './reference-attention.js'
import { testedEngines } from './tested-engines.js'
import { useEngine } from './use-engine.js'

const EXTENTS = { batch: 3, length: 75, heads: 4, kvHeads: 2, headDim: 16 }
const SETTINGS = { blockSize: 8, initTokens: 8, localTokens: 16, topK: 2 }
const TOLERANCE = tolerancesFor('f32')

type Results = Record<'o' | 'dq' | 'dk' | 'dv', Float32Array>

const read = (tensor: tf.Tensor) => tensor.dataSync<'float32'>().slice()

function tensorsOf({ batch, length, heads, kvHeads, headDim, q, k, v }: BatchProblem): [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D] {
  const keyShape: [number, number, number, number] = [batch, length, kvHeads, headDim]
  return [tf.tensor4d(q, [batch, length, heads, headDim]), tf.tensor4d(k, keyShape), tf.tensor4d(v, keyShape)]
}

/** o and, for dOut, the gradients of q, k and v. */
function run(problem: BatchProblem, options: PhsaAttentionOptions): Results {
  tf.engine().startScope()
  const inputs = tensorsOf(problem)
  const attend = tf.valueAndGrads((q, k, v) => phsaAttention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, options))
  const { value, grads } = attend(inputs, tf.tensor4d(problem.dOut, inputs[0].shape))
  const results = { o: read(value), dq: read(grads[0]), dk: read(grads[1]), dv: read(grads[2]) }
  tf.engine().endScope()
  return results
}

/** Causal attention over all keys, written with TensorFlow.js's own operations; as many KV heads as heads. */
function denseAttention(q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D): tf.Tensor4D {
  const [, length, , headDim] = q.shape
  const byHead = (x: tf.Tensor4D) => tf.transpose(x, [0, 2, 1, 3])
  const scores = tf.mul(tf.matMul(byHead(q), byHead(k), false, true), 1 / Math.sqrt(headDim))
  const causal = tf.buffer([length, length])
  for (let query = 0; query < length; query++) for (let key = query + 1; key < length; key++) causal.set(-1e30, query, key)
  return byHead(tf.matMul(tf.softmax(tf.add(scores, causal.toTensor())), byHead(v)) as tf.Tensor4D)
}

async function expectReference(problem: BatchProblem, config: PhsaConfig, actual: Results) {
  const expected = await referenceAttention(problem, config)
  for (const name of ['o', 'dq', 'dk', 'dv'] as const) {
    expect(relativeError(actual[name], expected[name]), name).toBeLessThan(TOLERANCE.relative)
  }
  expect(rowwiseError(actual.o, expected.o, problem.headDim).error).toBeLessThan(TOLERANCE.row)
}

describe.each(testedEngines)('on %s', (engine) => {
  let current = ''
  beforeEach(async () => {
    current = await useEngine(engine)
  })
  afterEach(() => {
    expect(tf.getBackend()).toBe(current)
    expect(tf.memory().numTensors).toBe(0)
  })

  test.each<[string, Partial<PhsaConfig>, number[] | undefined]>([
    ['without punctuation', { lambda: 1 }, undefined],
    ['with punctuation', {}, undefined],
    ['by punctuation only, scores not softmaxed', { lambda: 0, score: 'logit' }, undefined],
    ['in a ragged batch', { representatives: 2 }, [75, 41, 3]],
    ['with an empty row', { topK: 3 }, [17, 0, 75]],
    ['dense below a position', { denseBelow: 40 }, undefined],
  ])('values and gradients are those of the reference: %s', async (_, settings, lengths) => {
    const problem = batchProblem(EXTENTS, lengths)
    const options = { ...SETTINGS, ...settings } as PhsaAttentionOptions
    const punctuation = settings.lambda === 1 ? undefined : problem.punctuation
    await expectReference(problem, phsaConfig({ ...SETTINGS, ...settings }), run(problem, { ...options, punctuation, lengths }))
  })

  test('a lambda for each KV head', async () => {
    const problem = batchProblem(EXTENTS)
    const config = phsaConfig({ ...SETTINGS, lambda: [[0, 0.8]] })
    const { punctuation } = problem
    const actual = run(problem, { ...SETTINGS, lambda: [0, 0.8], punctuation })
    await expectReference(problem, config, actual)
    expect(run(problem, { ...config, punctuation })).toEqual(actual)
  })

  test('where the window covers all, it is dense attention, and so are its gradients', () => {
    const problem = batchProblem({ batch: 2, length: 40, heads: 2, kvHeads: 2, headDim: 16 })
    const actual = run(problem, { blockSize: 8, initTokens: 0, localTokens: 40, topK: 0 })
    expect(run(problem, { ...PHSA_4K, denseLayers: [0] })).toEqual(actual)
    tf.tidy(() => {
      const inputs = tensorsOf(problem)
      const dense = tf.valueAndGrads((q, k, v) => denseAttention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D))
      const { value, grads } = dense(inputs, tf.tensor4d(problem.dOut, inputs[0].shape))
      for (const [name, tensor] of Object.entries({ o: value, dq: grads[0], dk: grads[1], dv: grads[2] })) {
        expect(relativeError(actual[name as keyof Results], read(tensor)), name).toBeLessThan(TOLERANCE.relative)
      }
    })
  })

  test('padding is not read, and has output and gradients of zero', () => {
    const problem = batchProblem(EXTENTS, [75, 20, 0])
    const expected = run(problem, { ...SETTINGS, lengths: problem.lengths })
    // The second row's padding begins after 75 + 20 of the batch's 225 tokens.
    const padding = (values: Float32Array) => values.subarray((values.length / 225) * 95)
    for (const name of ['q', 'k', 'v', 'dOut'] as const) padding(problem[name]).fill(Number.NaN)
    const lengths = tf.tensor1d([...problem.lengths], 'int32')
    const actual = run(problem, { ...SETTINGS, lengths })
    lengths.dispose()
    expect(actual).toEqual(expected)
    for (const values of Object.values(actual)) expect(padding(values).every((value) => value === 0)).toBe(true)
  })

  test('punctuation may be any tensor or array, and changes what is chosen', () => {
    const problem = batchProblem({ ...EXTENTS, batch: 2, heads: 2, kvHeads: 1 })
    const { batch, length, punctuation } = problem
    const options = { ...SETTINGS, lambda: 0 }
    const expected = run(problem, { ...options, punctuation })
    const rows = [...Array(batch).keys()].map((row) => [...punctuation.subarray(row * length, (row + 1) * length)])
    expect(run(problem, { ...options, punctuation: rows })).toEqual(expected)
    expect(run(problem, { ...options, punctuation: rows.map((row) => row.map(Boolean)) })).toEqual(expected)
    for (const dtype of ['bool', 'int32', 'float32'] as const) {
      const tensor = tf.tensor2d(rows, [batch, length], dtype)
      expect(run(problem, { ...options, punctuation: tensor })).toEqual(expected)
      tensor.dispose()
    }
    expect(run(problem, options).o).not.toEqual(expected.o)
  })

  test('gradients agree with differences of values', () => {
    const problem = batchProblem({ batch: 1, length: 12, heads: 2, kvHeads: 1, headDim: 2 })
    // All that is selectable is selected, so that a small step changes no choice.
    const options = { blockSize: 2, initTokens: 2, localTokens: 2, topK: 8 }
    const { dq, dk, dv } = run(problem, options)
    const objective = (values: BatchProblem) => run(values, options).o.reduce((sum, value, at) => sum + value * problem.dOut[at], 0)
    const step = 1e-2
    for (const [name, gradient] of Object.entries({ q: dq, k: dk, v: dv })) {
      const differences = gradient.map((_, at) => {
        const moved = (by: number) =>
          objective({ ...problem, [name]: problem[name as 'q'].map((value, index) => (index === at ? value + by : value)) })
        return (moved(step) - moved(-step)) / (2 * step)
      })
      expect(relativeError(gradient, differences), name).toBeLessThan(1e-3)
    }
  })

  test('one tensor may be q, k and v; its gradient is their sum', () => {
    const problem = batchProblem({ ...EXTENTS, kvHeads: EXTENTS.heads })
    const { dq, dk, dv } = run({ ...problem, k: problem.q, v: problem.q }, SETTINGS)
    tf.tidy(() => {
      const [x] = tensorsOf(problem)
      const gradient = tf.grad((x) => phsaAttention(x as tf.Tensor4D, x as tf.Tensor4D, x as tf.Tensor4D, SETTINGS))(
        x,
        tf.tensor4d(problem.dOut, x.shape),
      )
      const sum = dq.map((value, at) => value + dk[at] + dv[at])
      expect(relativeError(read(gradient), sum)).toBeLessThan(1e-6)
    })
  })

  test('variables train through it, and nothing is left but what the caller keeps', () => {
    const problem = batchProblem({ ...EXTENTS, batch: 1 })
    const [q, k, v] = tensorsOf(problem)
    const kernel = tf.tidy(() => tf.variable(tf.eye(16)))
    const loss = () =>
      tf.tidy(() => {
        const projected = tf.reshape<tf.Rank.R4>(tf.matMul(tf.reshape<tf.Rank.R2>(q, [-1, 16]), kernel as tf.Tensor2D), q.shape)
        return tf.mean(tf.square(tf.sub(phsaAttention(projected, k, v, SETTINGS), 1))) as tf.Scalar
      })
    const held = tf.memory()
    const losses: number[] = []
    for (let step = 0; step < 5; step++) {
      const { value, grads } = tf.variableGrads(loss)
      losses.push(value.dataSync()[0])
      tf.tidy(() => kernel.assign(tf.sub(kernel, tf.mul(grads[kernel.name], 0.5))))
      tf.dispose([value, grads])
      expect(tf.memory()).toMatchObject({ numTensors: held.numTensors, numBytes: held.numBytes })
    }
    expect(losses[4]).toBeLessThan(losses[0])
    const o = phsaAttention(q, k, v, SETTINGS)
    expect(o.shape).toEqual(q.shape)
    expect(tf.memory()).toMatchObject({ numTensors: held.numTensors + 1, numBytes: held.numBytes + 4 * o.size })
    tf.dispose([o, q, k, v, kernel])
  })

  test.each([
    [0, 5],
    [2, 0],
  ])('a batch of %d rows of %d tokens', (batch, length) => {
    const problem = batchProblem({ ...EXTENTS, batch, length })
    expect(run(problem, SETTINGS).o).toHaveLength(0)
  })
})
