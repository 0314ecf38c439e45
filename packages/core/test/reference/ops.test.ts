import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type AdamwParameter, type DType, type ModelBackend, reference, roundToType, type Tensor } from '../../src/index.js'
import { expectClose } from './close.js'

let backend: ModelBackend
beforeEach(async () => {
  backend = await reference()
})
afterEach(() => backend.dispose())

const tensor = (values: readonly number[], shape: readonly number[] = [values.length], dtype: DType = 'f32'): Tensor =>
  backend.memory.upload(
    dtype === 'f64' ? Float64Array.from(values) : dtype === 'i32' ? Int32Array.from(values) : Float32Array.from(values),
    shape,
    dtype,
  )
const valuesOf = async (of: Tensor) => [...(await backend.memory.download(of))]

test('results have the type of the activations and are rounded once', async () => {
  const sum = backend.ops.add(tensor([1], [1], 'bf16'), tensor([2 ** -8 + 2 ** -10], [1], 'bf16'))
  expect(sum.dtype).toBe('bf16')
  expect(await valuesOf(sum)).toEqual([roundToType(1 + 2 ** -8 + 2 ** -10, 'bf16')])
  const normed = backend.ops.rmsNorm(tensor([3, 4], [1, 2], 'f16'), tensor([1, 1]), 0)
  expect(normed.dtype).toBe('f16')
  expect(await valuesOf(normed)).toEqual([3, 4].map((value) => roundToType(value / Math.sqrt(12.5), 'f16')))
})

test('gradients of weights are added to, in their own type or f32', async () => {
  const { ops } = backend
  const [x, weight, dy] = [tensor([1, 2], [1, 2], 'bf16'), tensor([3, 4], [1, 2], 'bf16'), tensor([2], [1, 1], 'bf16')]
  const dWeight = tensor([10, 20], [1, 2])
  expect(await valuesOf(ops.linearBackward(dy, x, weight, dWeight))).toEqual([6, 8])
  expect(await valuesOf(dWeight)).toEqual([12, 24])
  const dx = tensor([100, 200], [1, 2], 'bf16')
  expect(ops.linearBackward(dy, x, weight, dWeight, dx)).toBe(dx)
  expect(await valuesOf(dx)).toEqual([106, 208])
  expect(await valuesOf(dWeight)).toEqual([14, 28])

  const dTable = tensor([1, 1, 1, 1], [2, 2])
  ops.embeddingBackward(tensor([1, 2, 3, 4, 5, 6], [3, 2]), tensor([1, -1, 1], [3], 'i32'), dTable)
  expect(await valuesOf(dTable)).toEqual([1, 1, 7, 9])
  expect(await valuesOf(ops.embedding(dTable, tensor([1, -1], [2], 'i32')))).toEqual([7, 9, 0, 0])
})

test('every backward of a norm, rotation, gate and loss goes through the backend', async () => {
  const { ops } = backend
  const x = tensor([1, 2, 3, 4], [2, 2])
  const dScale = tensor([0.5, 0.5])
  const dx = ops.rmsNormBackward(x, x, tensor([1, 1]), 1e-6, dScale)
  expect(dx.shape).toEqual([2, 2])
  expect((await valuesOf(dScale)).every((value) => value > 0.5)).toBe(true)

  const rope = { cos: tensor([1, 0], [2, 1]), sin: tensor([0, 1], [2, 1]) }
  const input = { x: tensor([3, 4, 3, 4], [2, 1, 2]), weight: tensor([1, 1]), positions: tensor([0, 1], [2], 'i32'), rope, epsilon: 0 }
  const [first, second] = [3 / Math.sqrt(12.5), 4 / Math.sqrt(12.5)]
  expectClose(await valuesOf(ops.qkNormRope(input)), [first, second, -second, first], 1e-7)
  const dHeadScale = tensor([0, 0])
  expect(ops.qkNormRopeBackward(input.x, input, dHeadScale).shape).toEqual([2, 1, 2])
  expectClose(await valuesOf(dHeadScale), [3 * first + 4 * first, 4 * second - 3 * second], 1e-6)

  const { dGate, dUp } = ops.swigluBackward(x, x, x)
  expectClose(
    await valuesOf(ops.swiglu(x, x)),
    [1, 2, 3, 4].map((value) => value ** 2 / (1 + Math.exp(-value))),
    1e-7,
  )
  expect([dGate.shape, dUp.shape]).toEqual([
    [2, 2],
    [2, 2],
  ])

  const entropy = { hidden: x, head: tensor([0, 0, 0, 0, 0, 0], [3, 2]), targets: tensor([2, 7], [2], 'i32'), weights: tensor([0.5, 0]) }
  const dHead = tensor([1, 0, 0, 0, 0, 0], [3, 2])
  const result = ops.crossEntropyBackward(entropy, dHead)
  expectClose(await valuesOf(result.loss), [0.5 * Math.log(3)], 1e-7)
  expectClose(await valuesOf(ops.crossEntropy(entropy).tokenLosses), [Math.log(3), 0], 1e-7)
  expectClose(await valuesOf(dHead), [1 + 1 / 6, 1 / 3, 1 / 6, 1 / 3, -1 / 3, -2 / 3], 1e-6)
  expect(await valuesOf(result.dHidden)).toEqual([0, 0, 0, 0])
})

describe('gradientNorm and adamw', () => {
  const options = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 }
  const control = () => tensor([0.1, 1 - 0.9, 1 - 0.99])
  const parameter = (value: Tensor, gradient: readonly number[], rest: Partial<AdamwParameter> = {}): AdamwParameter => ({
    value,
    gradient: tensor(gradient, value.shape),
    mean: backend.memory.alloc(value.shape, 'f32'),
    variance: backend.memory.alloc(value.shape, 'f32'),
    weightDecay: 0,
    ...rest,
  })

  test('the norm is global and the scale clips', async () => {
    const { ops } = backend
    const gradients = [tensor([3, 0]), tensor([4], [1], 'bf16')]
    expectClose(await valuesOf(ops.gradientNorm(gradients, 1)), [5, 0.2], 1e-7)
    expect(await valuesOf(ops.gradientNorm(gradients, 10))).toEqual([5, 1])
    expect(await valuesOf(ops.gradientNorm([], 1))).toEqual([0, 1])
    expect(await valuesOf(ops.gradientNorm([tensor([1, Number.NaN])], 1))).toEqual([Number.NaN, 0])
    expect(await valuesOf(ops.gradientNorm([tensor([Number.NEGATIVE_INFINITY])], 1))).toEqual([Number.POSITIVE_INFINITY, 0])
  })

  test('two steps by hand, with decoupled decay and the clip scale', async () => {
    const decayed = parameter(tensor([2]), [8], { weightDecay: 0.5 })
    backend.ops.adamw([decayed], control(), tensor([16, 0.5]), options)
    // The first step goes by the sign: lr * (1 + decay * value).
    expectClose(await valuesOf(decayed.value), [2 - 0.1 * (1 + 0.5 * 2)], 1e-6)
    expectClose(await valuesOf(decayed.mean), [0.4], 1e-6)
    expectClose(await valuesOf(decayed.variance), [0.16], 1e-6)
    backend.ops.adamw([decayed], tensor([0.1, 1 - 0.9 ** 2, 1 - 0.99 ** 2]), tensor([16, 0]), options)
    expectClose(await valuesOf(decayed.value), [1.8], 1e-6)
    backend.ops.adamw([decayed], tensor([0.1, 1 - 0.9 ** 2, 1 - 0.99 ** 2]), tensor([8, 0.25]), options)
    const mean = (0.9 * 0.4 + 0.1 * 2) / 0.19
    const variance = (0.99 * 0.16 + 0.01 * 4) / (1 - 0.99 ** 2)
    expectClose(await valuesOf(decayed.value), [1.8 - 0.1 * (mean / Math.sqrt(variance) + 0.5 * 1.8)], 1e-6)
    expect(await valuesOf(decayed.gradient)).toEqual([8])
  })

  test('a norm that is not finite leaves everything', async () => {
    const held = parameter(tensor([2]), [Number.NaN], { weightDecay: 0.5 })
    backend.ops.adamw([held], control(), backend.ops.gradientNorm([held.gradient], 1), options)
    expect([await valuesOf(held.value), await valuesOf(held.mean), await valuesOf(held.variance)]).toEqual([[2], [0], [0]])
  })

  test('small steps of a 16-bit value add up in its f32 master', async () => {
    const kept = parameter(tensor([1], [1], 'bf16'), [1], { master: tensor([1]) })
    const small = tensor([1e-3, 1, 1])
    // Without moments each step is the learning rate: half a bf16 spacing below 1 is 2^-9, which the second passes.
    const plain = { beta1: 0, beta2: 0, epsilon: 0 }
    const seen: number[] = []
    for (let step = 0; step < 3; step++) {
      backend.ops.adamw([kept], small, tensor([1, 1]), plain)
      seen.push((await valuesOf(kept.value))[0])
    }
    expectClose(await valuesOf(kept.master as Tensor), [0.997], 1e-6)
    expect(seen).toEqual([1, 1 - 2 ** -8, 1 - 2 ** -8])
  })
})

test('sample draws a row each, from logits of any float type', async () => {
  const logits = tensor([0, 5, 0, 9, 0, 0], [2, 3], 'bf16')
  const control = tensor([0, 0, 1, 0, 0.5, 0, 0, 1, 0, 0.5], [2, 5])
  expect(await valuesOf(backend.ops.sample(logits, control))).toEqual([1, 0])
})

describe('arguments that do not fit are named', () => {
  const cases: [string, () => unknown, RegExp][] = [
    [
      'a width',
      () => backend.ops.linear(tensor([1, 2], [1, 2]), tensor([1], [1, 1])),
      /weight has shape \[1, 1\]; this call takes \[any, 2\]/,
    ],
    ['a rank', () => backend.ops.linear(tensor([1]), tensor([1], [1, 1])), /x has shape \[1\]; this call takes \[any, any\]/],
    ['a type', () => backend.ops.linear(tensor([1], [1, 1], 'bf16'), tensor([1], [1, 1])), /weight is f32; this call takes bf16/],
    ['ids', () => backend.ops.embedding(tensor([1], [1, 1]), tensor([0])), /ids is f32; this call takes i32/],
    ['an odd head', () => oddHead(), /head dimension 3/],
    ['no logits', () => backend.ops.sample(tensor([], [1, 0]), tensor([0, 0, 0, 0, 0], [1, 5])), /one or more/],
    [
      'an accumulator',
      () => backend.ops.embeddingBackward(tensor([1], [1, 1]), tensor([0], [1], 'i32'), tensor([1], [1, 1], 'bf16')),
      /dTable is bf16/,
    ],
  ]
  test.each(cases)('%s', (_, run, message) => {
    expect(run).toThrow(message)
  })

  function oddHead(): Tensor {
    const table = tensor([1], [1, 1])
    const [weight, positions] = [tensor([1, 1, 1]), tensor([0], [1], 'i32')]
    return backend.ops.qkNormRope({ x: tensor([1, 1, 1], [1, 1, 3]), weight, positions, rope: { cos: table, sin: table }, epsilon: 0 })
  }
})
