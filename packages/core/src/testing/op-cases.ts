import { crossEntropyCases } from './cross-entropy-cases.js'
import { layerCases } from './layer-cases.js'
import type { OpCase, OpTensor } from './op-case.js'
import { activation, integers, random } from './op-inputs.js'

const EPSILON = 1e-6

/** Each op and its backward, on shapes that are no multiple of anything. */
export function opCases(): OpCase[] {
  return [
    ...embeddingCases(),
    ...normCases(),
    ...linearCases(),
    ...ropeCases(),
    ...elementwiseCases(),
    ...layerCases(),
    ...crossEntropyCases(),
    ...normOfGradientsCases(),
  ]
}

function embeddingCases(): OpCase[] {
  const ids = integers([3, 0, -1, 3, 6, 3, 1, -1, 6])
  const table = random('table', [7, 33])
  return [
    {
      name: 'embedding',
      inputs: { table, ids },
      accumulators: {},
      run: (ops, { table, ids }) => ({ rows: ops.embedding(table, ids) }),
      exact: ['rows'],
    },
    {
      name: 'embedding-backward-repeated-ids',
      inputs: { dOut: random('dOut', [9, 33]), ids },
      accumulators: { dTable: activation([7, 33]) },
      run: (ops, { dOut, ids, dTable }) => {
        ops.embeddingBackward(dOut, ids, dTable)
        return {}
      },
    },
    {
      name: 'embedding-backward-into-f32',
      inputs: { dOut: random('dOut', [9, 33]), ids },
      accumulators: { dTable: { shape: [7, 33], kind: 'f32' } },
      run: (ops, { dOut, ids, dTable }) => {
        ops.embeddingBackward(dOut, ids, dTable)
        return {}
      },
    },
    {
      name: 'embedding-backward-many-ids',
      inputs: { dOut: random('dOut', [12, 16]), ids: integers([1299, 512, 3, 515, 1027, 512, 0, -1, 1024, 3, 511, 512]) },
      accumulators: { dTable: activation([1300, 16]) },
      run: (ops, { dOut, ids, dTable }) => {
        ops.embeddingBackward(dOut, ids, dTable)
        return {}
      },
    },
    {
      name: 'embedding-of-nothing',
      inputs: { table, ids: integers([]) },
      accumulators: {},
      run: (ops, { table, ids }) => ({ rows: ops.embedding(table, ids) }),
    },
  ]
}

function normCases(): OpCase[] {
  const shapes: [number, number][] = [
    [1, 1],
    [5, 96],
    [37, 130],
    [0, 96],
    // Wider than one workgroup.
    [3, 1500],
    [2, 2304],
  ]
  return shapes.flatMap(([T, E]): OpCase[] => [
    {
      name: `rms-norm-${T}x${E}`,
      inputs: { x: random('x', [T, E], 3), weight: random('weight', [E]) },
      accumulators: {},
      run: (ops, { x, weight }) => ({ y: ops.rmsNorm(x, weight, EPSILON) }),
    },
    {
      name: `add-rms-norm-${T}x${E}`,
      inputs: { a: random('a', [T, E], 3), b: random('b', [T, E]), weight: random('weight', [E]) },
      accumulators: {},
      run: (ops, { a, b, weight }) => ({ ...ops.addRmsNorm(a, b, weight, EPSILON) }),
    },
    {
      name: `rms-norm-backward-${T}x${E}`,
      // A single element has no gradient of x but for epsilon: nothing to compare with, so a large epsilon keeps it well-conditioned.
      inputs: { dy: random('dy', [T, E]), x: random('x', [T, E], 3), weight: random('weight', [E]) },
      accumulators: { dWeight: activation([E]) },
      run: (ops, { dy, x, weight, dWeight }) => ({ dx: ops.rmsNormBackward(dy, x, weight, 0.5, dWeight) }),
    },
  ])
}

function linearCases(): OpCase[] {
  const shapes: [number, number, number][] = [
    [1, 64, 48],
    [37, 65, 33],
    [130, 96, 160],
    [0, 32, 16],
    // Deeper than one tile.
    [5, 1100, 17],
  ]
  return shapes.flatMap(([T, I, O]): OpCase[] => {
    const inputs = { x: random('x', [T, I]), weight: random('weight', [O, I], 0.1) }
    const backward = { ...inputs, dy: random('dy', [T, O]) }
    const size = `${T}x${I}x${O}`
    return [
      { name: `linear-${size}`, inputs, accumulators: {}, run: (ops, { x, weight }) => ({ y: ops.linear(x, weight) }) },
      {
        name: `linear-backward-${size}`,
        inputs: backward,
        accumulators: { dWeight: activation([O, I]) },
        run: (ops, { dy, x, weight, dWeight }) => ({ dx: ops.linearBackward(dy, x, weight, dWeight) }),
      },
      {
        name: `linear-backward-into-dx-${size}`,
        inputs: backward,
        accumulators: { dWeight: { shape: [O, I], kind: 'f32' }, dx: activation([T, I]) },
        run: (ops, { dy, x, weight, dWeight, dx }) => {
          ops.linearBackward(dy, x, weight, dWeight, dx)
          return {}
        },
      },
    ]
  })
}

/** Row p of the table holds position FIRST_ANGLE + p: no backend can make it up in f32, which is off by up to a thirtieth there. */
const FIRST_ANGLE = 999_936

function ropeCases(): OpCase[] {
  const positions = [0, 1, 2, 3, 63, 5, 0, 1, 17, 17, 62]
  return [
    ...ropeCasesOf('qk-norm-rope', 32, positions),
    ...ropeCasesOf('qk-norm-rope-of-nothing', 32, []),
    // No multiple of anything.
    ...ropeCasesOf('qk-norm-rope-14', 14, positions),
  ]
}

function ropeCasesOf(name: string, D: number, positions: readonly number[]): OpCase[] {
  const [H, P] = [3, 64]
  const angles = Float64Array.from(
    { length: (P * D) / 2 },
    (_, index) => (FIRST_ANGLE + Math.floor(index / (D / 2))) / 10000 ** ((index % (D / 2)) / (D / 2)),
  )
  const table = (values: Float64Array): OpTensor => ({ data: Float32Array.from(values), shape: [P, D / 2], kind: 'f32' })
  const rope = { weight: random('weight', [D]), cos: table(angles.map(Math.cos)), sin: table(angles.map(Math.sin)) }
  const inputs = { ...rope, x: random('x', [positions.length, H, D], 2), positions: integers(positions) }
  return [
    {
      name,
      inputs,
      accumulators: {},
      run: (ops, { x, weight, positions, cos, sin }) => ({
        y: ops.qkNormRope({ x, weight, positions, rope: { cos, sin }, epsilon: EPSILON }),
      }),
    },
    {
      name: name.replace('rope', 'rope-backward'),
      inputs: { ...inputs, dy: random('dy', [positions.length, H, D]) },
      accumulators: { dWeight: activation([D]) },
      run: (ops, { dy, x, weight, positions, cos, sin, dWeight }) => ({
        dx: ops.qkNormRopeBackward(dy, { x, weight, positions, rope: { cos, sin }, epsilon: EPSILON }, dWeight),
      }),
    },
  ]
}

function elementwiseCases(): OpCase[] {
  const [gate, up, dy] = [random('gate', [19, 45], 2), random('up', [19, 45]), random('dy', [19, 45])]
  const none = random('none', [0, 45])
  // Far out the sigmoid is 0 or 1: exp must not overflow into NaN.
  const far = { ...gate, data: Float32Array.from(gate.data, (value, index) => (index % 7 === 0 ? Math.sign(value) * 200 : value)) }
  return [
    { name: 'swiglu', inputs: { gate, up }, accumulators: {}, run: (ops, { gate, up }) => ({ y: ops.swiglu(gate, up) }) },
    { name: 'swiglu-far', inputs: { gate: far, up }, accumulators: {}, run: (ops, { gate, up }) => ({ y: ops.swiglu(gate, up) }) },
    {
      name: 'swiglu-backward',
      inputs: { dy, gate, up },
      accumulators: {},
      run: (ops, { dy, gate, up }) => ({ ...ops.swigluBackward(dy, gate, up) }),
    },
    {
      name: 'swiglu-backward-far',
      inputs: { dy, gate: far, up },
      accumulators: {},
      run: (ops, { dy, gate, up }) => ({ ...ops.swigluBackward(dy, gate, up) }),
    },
    {
      name: 'swiglu-of-nothing',
      inputs: { gate: none, up: none },
      accumulators: {},
      run: (ops, { gate, up }) => ({ y: ops.swiglu(gate, up) }),
    },
    {
      name: 'swiglu-backward-of-nothing',
      inputs: { dy: none, gate: none, up: none },
      accumulators: {},
      run: (ops, { dy, gate, up }) => ({ ...ops.swigluBackward(dy, gate, up) }),
    },
    { name: 'add-of-nothing', inputs: { a: none, b: none }, accumulators: {}, run: (ops, { a, b }) => ({ y: ops.add(a, b) }) },
    { name: 'add', inputs: { a: gate, b: up }, accumulators: {}, run: (ops, { a, b }) => ({ y: ops.add(a, b) }) },
    { name: 'add-to-itself', inputs: { a: gate }, accumulators: {}, run: (ops, { a }) => ({ y: ops.add(a, a) }) },
  ]
}

function normOfGradientsCases(): OpCase[] {
  const inputs = { a: random('a', [37, 5], 3), b: random('b', [64]), c: random('c', [1]) }
  const norm = (maxNorm: number): OpCase['run'] => {
    return (ops, { a, b, c }) => ({ norm: ops.gradientNorm([a, b, c], maxNorm) })
  }
  return [
    { name: 'gradient-norm-clipped', inputs, accumulators: {}, run: norm(1) },
    { name: 'gradient-norm-within', inputs, accumulators: {}, run: norm(1e4) },
  ]
}
