import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { dawn } from '../src/device/dawn.js'
import { findGpu } from '../src/device/find-gpu.js'
import { GpuDevice } from '../src/device/gpu-device.js'
import { shaderText } from '../src/device/shader-part.js'
import { WebgpuMemory } from '../src/memory/webgpu-memory.js'
import { crossEntropyBackward } from '../src/ops/cross-entropy.js'
import type { OpHost } from '../src/ops/op-host.js'
import type { MatrixProduct } from '../src/products/matrix-product.js'
import { rowsInWindow, windowExtents, windowOf } from '../src/products/matrix-window.js'
import { multiply } from '../src/products/multiply.js'
import { tilePlan } from '../src/products/tile-plan.js'
import { multiplyTiles, tileKernel } from '../src/products/tiles.js'
import { webgpuUnavailable } from './open-webgpu.js'

const DEVICE = { hasMatrixUnits: false, subgroups: { min: 32, max: 32 }, gpu: { limits: { maxComputeWorkgroupStorageSize: 49152 } } }
const SLICE = { storage: { buffer: {} as GPUBuffer, id: 1, version: 0 }, offset: 0, bytes: 0 }

/** An empty product of f16 matrices one behind the other, x Wt. */
function productOf(rows: number, columns: number, depth: number): MatrixProduct {
  const matrix = (stride: number) => ({ slice: SLICE, first: 0, stride })
  const right = { ...matrix(depth), transposed: true }
  return { rows, columns, depth, element: 'f16', left: matrix(depth), right, result: { ...matrix(columns), element: 'f16' } }
}

test.each([
  { rows: 4096, columns: 4096, depth: 4096, expected: { tile: 128, parts: 1 } },
  { rows: 40, columns: 96, depth: 3072, expected: { tile: 64 } },
  { rows: 1, columns: 1, depth: 0, expected: { tile: 64, parts: 1, partDepth: 16 } },
  { rows: 2000, columns: 2000, depth: 200, expected: { parts: 1 } },
])('the parts of a product of $rows x $columns x $depth cover its depth', ({ expected, rows, columns, depth }) => {
  const plan = tilePlan(DEVICE, productOf(rows, columns, depth))
  expect(plan).toMatchObject(expected)
  expect(plan.partDepth % 16).toBe(0)
  expect(plan.parts * plan.partDepth).toBeGreaterThanOrEqual(depth)
  expect((plan.parts - 1) * plan.partDepth).toBeLessThan(Math.max(1, depth))
})

test('matrix units take f16 of whole vectors, where a subgroup is one of 32', () => {
  const device = { ...DEVICE, hasMatrixUnits: true }
  expect(tilePlan(device, productOf(300, 64, 1000))).toMatchObject({ units: true, tile: 128, parts: 3, partDepth: 352 })
  expect(tilePlan(device, productOf(300, 64, 1002)).units).toBe(false)
  expect(tilePlan(device, { ...productOf(300, 64, 1000), element: 'f32' }).units).toBe(false)
  expect(tilePlan({ ...device, subgroups: { min: 16, max: 32 } }, productOf(300, 64, 1000)).units).toBe(false)
})

describe('windows of a matrix', () => {
  const storage = { buffer: {} as GPUBuffer, id: 1, version: 0 }
  const matrix = { slice: { storage, offset: 512, bytes: 10_000 }, first: 70, stride: 20 }

  test('begin where a binding may and end behind the last element', () => {
    // 512 + 70 * 4 bytes, of which 24 are before the matrix.
    expect(windowOf(matrix, 'f32', 3, 18)).toEqual({ slice: { storage, offset: 768, bytes: 24 + (2 * 20 + 18) * 4 }, first: 6, stride: 20 })
    expect(windowOf({ ...matrix, first: 0 }, 'f16', 1, 3).slice.bytes).toBe(8)
    expect(windowOf({ ...matrix, first: 0 }, 'f32', 0, 3).slice.bytes).toBe(4)
  })

  test('hold as many rows as a binding has room for, whole tiles of them where there are several', () => {
    expect(rowsInWindow(matrix, 'f32', 256 + 5 * 80)).toBe(5)
    expect(rowsInWindow(matrix, 'f32', 256 + 300 * 80)).toBe(256)
    expect(rowsInWindow(matrix, 'f32', 100)).toBe(1)
    const operands = { left: matrix, right: { ...matrix, transposed: true }, result: { ...matrix, stride: 40, element: 'f32' } } as const
    const product = { rows: 9, columns: 9, depth: 9, element: 'f32', ...operands } as const
    expect(windowExtents(product, 256 + 5 * 80)).toEqual({ rows: 2, columns: 5, depth: 9 })
  })
})

test('the kernel for matrix units is one that Dawn takes', async () => {
  // Its null backend has all features, compiles and does not run.
  const gpu = await dawn(['backend=null', 'enable-dawn-features=allow_unsafe_apis'])
  const adapter = await gpu.requestAdapter()
  const requiredFeatures = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'] as GPUFeatureName[]
  const device = await adapter?.requestDevice({ requiredFeatures })
  const { code } = shaderText(tileKernel(productOf(8, 8, 8), { units: true, tile: 128 }), 'f16')
  const info = await device?.createShaderModule({ code }).getCompilationInfo()
  expect(info?.messages.map(({ lineNum, message }) => `${lineNum}: ${message}`)).toEqual([])
  device?.destroy()
})

const unavailable = await webgpuUnavailable()

describe.skipIf(unavailable)(`products${unavailable ? ` (${unavailable})` : ''}`, () => {
  let host: OpHost & { readonly memory: WebgpuMemory }
  beforeAll(async () => {
    const found = await findGpu({})
    const device = new GpuDevice(found.device, undefined, true)
    host = { device, memory: new WebgpuMemory(device, { name: 'webgpu', supports: () => ({ ok: true }) }) }
  })
  afterAll(() => host?.memory.close())

  test.each([
    { name: 'x Wt', left: false, right: true },
    { name: 'dy W', left: false, right: false },
    { name: 'dyt x', left: true, right: false },
  ])('$name of matrices inside of larger ones full of NaN, whole, in parts and in windows', async (transposed) => {
    const [rows, columns, depth] = [44, 72, 52]
    const left = surrounded(host, transposed.left ? depth : rows, transposed.left ? rows : depth, 3)
    const right = surrounded(host, transposed.right ? columns : depth, transposed.right ? depth : columns, 5)
    const result = surrounded(host, rows, columns, 7)
    const product = {
      rows,
      columns,
      depth,
      element: 'f32',
      left: { ...left.matrix, transposed: transposed.left },
      right: { ...right.matrix, transposed: transposed.right },
      result: { ...result.matrix, element: 'f32' },
      accumulate: true,
    } as const
    multiply(host, product)
    multiplyTiles(host, product, { units: false, tile: 128, parts: 2, partDepth: 32 })
    multiply(host, product, 256 + 4 * 7 * left.matrix.stride)
    const expected = result.values.map((value, index) => {
      const [row, column] = [Math.floor(index / columns), index % columns]
      let sum = 0
      for (let step = 0; step < depth; step++) {
        const one = left.values[transposed.left ? step * rows + row : row * depth + step]
        sum += one * right.values[transposed.right ? column * depth + step : step * columns + column]
      }
      return value + 3 * sum
    })
    const { inside, outside } = await result.read()
    expect(worst(inside, expected)).toBeLessThan(1e-4)
    expect(outside.every(Number.isNaN), 'what is around the result stays').toBe(true)
  })

  test('gradients of a loss in chunks are those of the whole, and the same bits each time', async () => {
    const { memory } = host
    const [tokens, vocabulary, width] = [9, 36, 8]
    const input = {
      hidden: memory.upload(numbers(tokens * width, 1), [tokens, width]),
      head: memory.upload(numbers(vocabulary * width, 2), [vocabulary, width]),
      targets: memory.upload(
        Int32Array.from({ length: tokens }, (_, token) => token * 3),
        [tokens],
      ),
      weights: memory.upload(numbers(tokens, 4).map(Math.abs), [tokens]),
    }
    const run = async (logitsBytes?: number) => {
      const dHead = memory.alloc([vocabulary, width], 'f32')
      const { loss, dHidden } = crossEntropyBackward(host, input, dHead, logitsBytes)
      return Promise.all([loss, dHidden, dHead].map((tensor) => memory.download(tensor)))
    }
    const [whole, chunks, again] = [await run(), await run(4 * 40 * 4), await run(4 * 40 * 4)]
    expect(again).toEqual(chunks)
    for (const [index, values] of chunks.entries()) expect(worst(values, [...whole[index]])).toBeLessThan(1e-5)
  })
})

/** A matrix with NaN before, behind and between its rows. */
function surrounded({ memory }: { readonly memory: WebgpuMemory }, rows: number, columns: number, seed: number) {
  const [first, stride] = [20, columns + 8]
  const values = [...numbers(rows * columns, seed)]
  const all = new Float32Array(first + (rows + 1) * stride).fill(Number.NaN)
  const place = (index: number) => first + Math.floor(index / columns) * stride + (index % columns)
  for (const [index, value] of values.entries()) all[place(index)] = value
  const tensor = memory.upload(all, [all.length])
  return {
    values,
    matrix: { slice: memory.slice(tensor), first, stride },
    async read() {
      const after = [...(await memory.download(tensor))]
      const places = new Set(values.map((_, index) => place(index)))
      return { inside: [...places].map((index) => after[index]), outside: after.filter((_, index) => !places.has(index)) }
    },
  }
}

function numbers(count: number, seed: number): Float32Array {
  return Float32Array.from({ length: count }, (_, index) => Math.sin(index * 12.9898 + seed * 78.233))
}

function worst(actual: ArrayLike<number>, expected: readonly number[]): number {
  return Math.max(...expected.map((value, index) => (Number.isNaN(actual[index]) ? Infinity : Math.abs(actual[index] - value))))
}
