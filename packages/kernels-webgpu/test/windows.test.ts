import type { HostArray } from '@phsa/core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findGpu } from '../src/device/find-gpu.js'
import { GpuDevice } from '../src/device/gpu-device.js'
import { WebgpuMemory } from '../src/memory/webgpu-memory.js'
import { adamw } from '../src/ops/adamw.js'
import { embedding, embeddingBackward } from '../src/ops/embedding.js'
import { gradientNorm } from '../src/ops/gradient-norm.js'
import type { OpHost } from '../src/ops/op-host.js'
import { windowSlice, windowsOf } from '../src/ops/windows.js'
import { webgpuUnavailable } from './open-webgpu.js'

describe('windows', () => {
  test('one of everything where it fits, none of nothing', () => {
    expect(windowsOf(1000, 40, 40_000)).toEqual([{ first: 0, count: 1000 }])
    expect(windowsOf(0, 40, 40_000)).toEqual([])
  })

  test('cover the rows in order, and begin where a binding may', () => {
    const windows = windowsOf(1000, 40, 25_000)
    expect(windows).toEqual([
      { first: 0, count: 512 },
      { first: 512, count: 488 },
    ])
    const storage = { buffer: {} as GPUBuffer, id: 1, version: 0 }
    for (const window of windows) {
      const slice = windowSlice({ storage, offset: 0, bytes: 40_000 }, window, 40)
      expect(slice.offset % 256).toBe(0)
      expect(slice.bytes).toBeLessThanOrEqual(25_000)
    }
  })

  test('of rows too wide are whole, for the launch to refuse', () => {
    expect(windowsOf(1000, 1000, 25_000)).toEqual([{ first: 0, count: 1000 }])
  })
})

const unavailable = await webgpuUnavailable()

describe.skipIf(unavailable)(`tensors larger than a binding${unavailable ? ` (${unavailable})` : ''}`, () => {
  const [ROWS, WIDTH] = [1500, 24]
  let whole: OpHost
  let narrow: OpHost
  let memory: WebgpuMemory

  beforeAll(async () => {
    const { device } = await findGpu({})
    const gpu = new GpuDevice(device, undefined, true)
    memory = new WebgpuMemory(gpu, { name: 'test', supports: () => ({ ok: true }) })
    whole = { device: gpu, memory }
    // The least limit that WebGPU allows is too large for a test: 32 KiB, a fifth of the table.
    const launch: GpuDevice['launch'] = (kernel) => gpu.launch(kernel)
    narrow = { device: { gpu: { limits: { maxStorageBufferBindingSize: 32 * 1024 } }, launch } as GpuDevice, memory }
  })

  afterAll(() => memory.close())

  const values = (count: number, seed: number) => Float32Array.from({ length: count }, (_, index) => Math.sin(seed + index * 1.7))
  const table = (seed: number) => memory.upload(values(ROWS * WIDTH, seed), [ROWS, WIDTH])

  /** What both hosts make of the same inputs. */
  async function both(run: (host: OpHost) => readonly Parameters<WebgpuMemory['download']>[0][]): Promise<[HostArray[], HostArray[]]> {
    const [one, several] = [run(whole), run(narrow)]
    const fetch = (tensors: typeof one) => Promise.all(tensors.map((tensor) => memory.download(tensor)))
    return [await fetch(one), await fetch(several)]
  }

  test('rows are found in every window, and those of id -1 are zeros', async () => {
    const ids = memory.upload(Int32Array.of(0, 1499, -1, 255, 256, 700, 1280, 1279), [8])
    const source = table(1)
    const [one, several] = await both((host) => [embedding(host, source, ids)])
    expect(several).toEqual(one)
    expect([...several[0].slice(2 * WIDTH, 3 * WIDTH)]).toEqual(new Array(WIDTH).fill(0))
    expect([...several[0].slice(WIDTH, 2 * WIDTH)]).toEqual([...values(ROWS * WIDTH, 1).slice(1499 * WIDTH)])
  })

  test('gradients of rows reach every window', async () => {
    const ids = memory.upload(
      Int32Array.from({ length: 90 }, (_, index) => (index % 2 === 0 ? 1400 : (index * 37) % ROWS)),
      [90],
    )
    const dOut = memory.upload(values(90 * WIDTH, 2), [90, WIDTH])
    const [one, several] = await both((host) => {
      const dTable = table(3)
      embeddingBackward(host, dOut, ids, dTable)
      return [dTable]
    })
    expect(several).toEqual(one)
    expect(several[0].slice(1400 * WIDTH, 1401 * WIDTH)).not.toEqual(values(ROWS * WIDTH, 3).slice(1400 * WIDTH, 1401 * WIDTH))
  })

  test('a norm counts every window', async () => {
    const gradient = table(4)
    const [, [norm]] = await both((host) => [gradientNorm(host, [gradient], 1)])
    const expected = Math.hypot(...values(ROWS * WIDTH, 4))
    expect(norm[0] / expected).toBeCloseTo(1, 5)
    expect(norm[1] * expected).toBeCloseTo(1, 5)
  })

  test('an optimizer step changes every window', async () => {
    const [control, norm] = [memory.upload(Float32Array.of(0.1, 0.1, 0.01), [3]), memory.upload(Float32Array.of(1, 1), [2])]
    const gradient = table(5)
    const [one, several] = await both((host) => {
      const [value, mean, variance] = [table(6), memory.alloc([ROWS, WIDTH], 'f32'), memory.alloc([ROWS, WIDTH], 'f32')]
      adamw(host, [{ value, gradient, mean, variance, weightDecay: 0.1 }], control, norm, { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 })
      return [value, mean, variance]
    })
    expect(several).toEqual(one)
    const before = values(ROWS * WIDTH, 6)
    expect(several[0].every((value, index) => value !== before[index])).toBe(true)
  })
})
