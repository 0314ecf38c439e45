import type { HostArray } from '@phsa/core'
import { isPhsaError } from '@phsa/core'
import { relativeCheck, type TensorCheck, tolerancesFor } from '@phsa/core/testing'
import { NormalPool } from '../attention/normal-pool.js'
import type { Engine } from './engine.js'
import { openTfjs } from './tfjs-products.js'
import { timeCalls } from './wall-timing.js'
import type { ProductRow } from './webgpu-result.js'

/** Elements that are compared with float64. */
const SAMPLES = 512

/** y = x Wt of square matrices. */
interface Product {
  readonly engine: ProductRow['engine']
  readonly dtype: ProductRow['dtype']
  readonly size: number
}

/** Matrices of normal numbers as 16 bits hold them, so that every engine multiplies the same. */
export function productInputs(size: number): { readonly x: Float32Array; readonly w: Float32Array } {
  const pool = new NormalPool(7)
  return { x: pool.take(size * size, 1), w: pool.take(size * size, 2) }
}

/** `ops.linear`, after a comparison of sampled elements with float64. */
export async function measureProduct({ name, backend, finish }: Engine, dtype: ProductRow['dtype'], size: number): Promise<ProductRow> {
  const product: Product = { engine: name, dtype, size }
  const { memory, ops } = backend
  const inputs = productInputs(size)
  try {
    const [x, w] = [inputs.x, inputs.w].map((values) => memory.upload(values, [size, size], dtype))
    try {
      const y = ops.linear(x, w)
      const check = checkProduct(inputs, size, await memory.download(y), tolerancesFor(dtype).relative)
      y.dispose()
      return await timed(product, check, finish, () => memory.scope(() => void ops.linear(x, w)))
    } finally {
      x.dispose()
      w.dispose()
    }
  } catch (error) {
    return failed(product, error)
  }
}

/** TensorFlow.js's own product on the same adapter. */
export async function measureTfjsProduct(dawnFlags: readonly string[], size: number): Promise<ProductRow> {
  const product: Product = { engine: 'tfjs-webgpu', dtype: 'f32', size }
  const inputs = productInputs(size)
  try {
    const tfjs = await openTfjs(dawnFlags)
    const { multiply, read, finish, dispose } = tfjs.product(inputs, size)
    try {
      const check = checkProduct(inputs, size, await read(), tolerancesFor('f32').relative)
      return await timed(product, check, finish, multiply)
    } finally {
      dispose()
    }
  } catch (error) {
    return failed(product, error)
  }
}

async function timed(product: Product, check: TensorCheck, finish: () => Promise<void>, call: () => void): Promise<ProductRow> {
  if (!check.ok) return { ...product, outcome: 'wrong', check }
  const time = await timeCalls(finish, call)
  return { ...product, outcome: 'measured', check, time, flops: (2 * product.size ** 3) / (time.milliseconds / 1e3) }
}

function failed(product: Product, error: unknown): ProductRow {
  if (!(error instanceof Error) || isPhsaError(error, 'backend-lost')) throw error
  return { ...product, outcome: 'failed', reason: `${error.name}: ${error.message}` }
}

function checkProduct({ x, w }: ReturnType<typeof productInputs>, size: number, y: HostArray, bound: number): TensorCheck {
  // A step that is prime to the size meets every column and every part of a tile.
  const places = Array.from(
    { length: SAMPLES },
    (_, index) => Math.floor((index * size * size) / SAMPLES) + ((index * 7919) % size),
  ).filter((place) => place < size * size)
  const exact = places.map((place) => {
    const [row, column] = [Math.floor(place / size), place % size]
    let sum = 0
    for (let index = 0; index < size; index++) sum += x[row * size + index] * w[column * size + index]
    return sum
  })
  return relativeCheck(
    'sampled elements',
    Float64Array.from(places, (place) => y[place]),
    Float64Array.from(exact),
    bound,
  )
}
