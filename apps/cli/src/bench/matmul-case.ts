import { type HostArray, RandomStream } from '@phsa/core'
import { relativeCheck, type TensorCheck, tolerancesFor } from '@phsa/core/testing'
import type { BenchContext, Measurement, ModelBenchCase } from './bench-case.js'
import { evaluated } from './evaluated.js'
import { timeRuns, waitFor } from './timing.js'

/** y = x Wt of square f32 matrices. @param size rows and columns */
export function matmulCase(size: number): ModelBenchCase {
  return {
    group: 'matmul',
    name: `matmul ${size}`,
    shape: { rows: size, inputs: size, outputs: size, dtype: 'f32' },
    gate: (context) => checkProduct(context, size),
    measure: (context) => measureProduct(context, size),
  }
}

/**
 * The product at its full size, every element of it: y r against x (Wt r) in float64 for vectors r of random signs (Freivalds). That takes size² steps
 * instead of size³, and an element that is wrong shows in each of them.
 */
async function checkProduct({ backend }: BenchContext, size: number): Promise<TensorCheck[]> {
  const { x, weight } = matrices(size)
  const { memory, ops } = backend
  const { y } = await evaluated(backend, () => ({
    y: ops.linear(memory.upload(x, [size, size]), memory.upload(weight, [size, size])),
  }))
  const random = new RandomStream(2)
  return [1, 2].map((index) => {
    const signs = Float64Array.from({ length: size }, () => (random.uniform() < 0.5 ? -1 : 1))
    return relativeCheck(
      `product, signs ${index}`,
      timesVector(y, signs),
      timesVector(x, transposedTimesVector(weight, signs)),
      tolerancesFor('f32').relative,
    )
  })
}

async function measureProduct({ backend, limits, interruption }: BenchContext, size: number): Promise<Measurement[]> {
  const { memory, ops } = backend
  const host = matrices(size)
  const x = memory.upload(host.x, [size, size])
  const weight = memory.upload(host.weight, [size, size])
  try {
    const timing = await timeRuns(
      async () => {
        const y = ops.linear(x, weight)
        await waitFor(backend, y)
        y.dispose()
      },
      limits,
      interruption,
    )
    return [{ name: 'forward', timing, flops: 2 * size ** 3 }]
  } finally {
    x.dispose()
    weight.dispose()
  }
}

/** x and weight, both [size, size], uniform of variance 1. */
function matrices(size: number): { x: Float32Array; weight: Float32Array } {
  const random = new RandomStream(1)
  const matrix = () => Float32Array.from({ length: size * size }, () => (random.uniform() - 0.5) * Math.sqrt(12))
  return { x: matrix(), weight: matrix() }
}

/** M v of a square matrix. */
function timesVector(matrix: HostArray, vector: Float64Array): Float64Array {
  const size = vector.length
  return vector.map((_, row) => {
    let sum = 0
    for (let column = 0; column < size; column++) sum += matrix[row * size + column] * vector[column]
    return sum
  })
}

/** Mt v of a square matrix: y = x Wt, so y r = x (Wt r). */
function transposedTimesVector(matrix: HostArray, vector: Float64Array): Float64Array {
  const size = vector.length
  const result = new Float64Array(size)
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) result[column] += matrix[row * size + column] * vector[row]
  }
  return result
}
