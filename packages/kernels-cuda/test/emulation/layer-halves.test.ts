import { composedHeads, composedLayerEnd, type FinishLayerInput, type ModelBackend, type ProjectHeadsInput, type Tensor } from '@phsa/core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { missingCompiler } from './build-emulation.js'
import { emulatedCuda } from './emulated-cuda.js'

const [WIDTH, HEADS, KV_HEADS, HEAD_DIM, INNER] = [520, 3, 1, 32, 72]
const missing = missingCompiler()

describe.skipIf(missing)(`halves of a layer on an emulated GPU${missing ? ` (skipped: ${missing})` : ''}`, { timeout: 600_000 }, () => {
  let backend: ModelBackend
  let layer: Readonly<Record<string, Tensor>>
  beforeAll(async () => {
    backend = await emulatedCuda()
    const weight = (...shape: number[]) => numbers(shape, 0.1)
    layer = {
      q: weight(HEADS * HEAD_DIM, WIDTH),
      k: weight(KV_HEADS * HEAD_DIM, WIDTH),
      v: weight(KV_HEADS * HEAD_DIM, WIDTH),
      o: weight(WIDTH, HEADS * HEAD_DIM),
      norm: weight(WIDTH),
      qNorm: weight(HEAD_DIM),
      kNorm: weight(HEAD_DIM),
      gate: weight(INNER, WIDTH),
      up: weight(INNER, WIDTH),
      down: weight(WIDTH, INNER),
      cos: backend.memory.upload(new Float32Array(16 * 16).fill(0.8), [16, 16]),
      sin: backend.memory.upload(new Float32Array(16 * 16).fill(0.6), [16, 16]),
    }
  }, 600_000)
  afterAll(() => backend.dispose())

  test('rows have the same bits alone and among others, and the same each time', async () => {
    await expectOwnRows(19, async (first, count) => {
      const { q, k, v } = backend.ops.projectHeads!(headsOf(first, count))!
      return Promise.all([q, k, v].map(rowsOf))
    })
    await expectOwnRows(16, async (first, count) => [await rowsOf(backend.ops.finishLayer!(endOf(first, count))!)])
  })

  test('more rows than they are for, f32 and odd widths are left to the composition', () => {
    const heads = headsOf(0, 65)
    const end = endOf(0, 65)
    expect(backend.ops.projectHeads!(heads)).toBeUndefined()
    expect(backend.ops.finishLayer!(end)).toBeUndefined()
    expect(backend.ops.finishLayer!(endOf(0, 17))).toBeUndefined()
    expect(composedHeads(backend, heads).q.shape).toEqual([65, HEADS, HEAD_DIM])
    expect(composedLayerEnd(backend, end).output.shape).toEqual([65, WIDTH])
    const single = (...shape: number[]) => backend.memory.alloc(shape, 'f32')
    const odd = {
      x: single(1, 8),
      out: single(1, 1, 8),
      o: single(8, 8),
      norm: single(8),
      gate: single(8, 8),
      up: single(8, 8),
      down: single(8, 8),
    }
    expect(backend.ops.finishLayer!({ ...odd, epsilon: 1e-6 })).toBeUndefined()
  })

  /** @param run results of some rows */
  async function expectOwnRows(rows: number, run: (first: number, count: number) => Promise<unknown[][][]>): Promise<void> {
    const all = await run(0, rows)
    expect(await run(0, rows)).toEqual(all)
    for (const [first, count] of [
      [0, 1],
      [7, 1],
      [rows - 4, 3],
      [rows - 1, 1],
    ]) {
      expect(await run(first, count)).toEqual(all.map((result) => result.slice(first, first + count)))
    }
  }

  async function rowsOf(tensor: Tensor): Promise<unknown[][]> {
    const values = Array.from(await backend.memory.download(tensor))
    const width = values.length / tensor.shape[0]
    return Array.from({ length: tensor.shape[0] }, (_, row) => values.slice(row * width, (row + 1) * width))
  }

  function headsOf(first: number, count: number): ProjectHeadsInput {
    const { norm, q, k, v, qNorm, kNorm, cos, sin } = layer
    const positions = backend.memory.upload(
      Int32Array.from({ length: count }, (_, row) => (first + row) % 16),
      [count],
    )
    const x = numbers([count, WIDTH], 1, first * WIDTH)
    return { x, norm, q, k, v, qNorm, kNorm, positions, rope: { cos, sin }, epsilon: 1e-6 }
  }

  function endOf(first: number, count: number): FinishLayerInput {
    const { norm, o, gate, up, down } = layer
    const x = numbers([count, WIDTH], 1, first * WIDTH)
    const out = numbers([count, HEADS, HEAD_DIM], 1, first * HEADS * HEAD_DIM)
    return { x, out, o, norm, gate, up, down, epsilon: 1e-6 }
  }

  /** bf16 numbers that follow from their place. */
  function numbers(shape: readonly number[], scale: number, start = 0): Tensor {
    const count = shape.reduce((product, extent) => product * extent, 1)
    const values = Float32Array.from({ length: count }, (_, index) => scale * Math.sin((start + index) * 12.9898 + shape.length))
    return backend.memory.upload(values, shape, 'bf16')
  }
})
