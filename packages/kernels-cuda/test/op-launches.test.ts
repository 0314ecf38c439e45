import { expect, test, vi } from 'vitest'
import { openBackend } from '../src/open-backend.js'
import { blockRanges } from '../src/ops/block-ranges.js'
import { FakeDriver, fakeArchive } from './fake-driver.js'

const COPIES = ['cuMemcpyHtoDAsync', 'cuMemcpyDtoHAsync', 'cuStreamSynchronize', 'cuEventSynchronize']

test('items are shared out to launches, each with thread blocks of its own', () => {
  const ranges = blockRanges([3, 0, 1, 2, 5], 2, (blocks) => blocks)
  expect(ranges).toEqual([
    {
      items: [
        { item: 3, firstBlock: 0 },
        { item: 1, firstBlock: 3 },
      ],
      blocks: 4,
    },
    {
      items: [
        { item: 2, firstBlock: 0 },
        { item: 5, firstBlock: 2 },
      ],
      blocks: 7,
    },
  ])
  expect(blockRanges([0], 2, (blocks) => blocks)).toEqual([])
})

test('hundreds of parameters are a few launches, whose addresses travel with them: nothing is uploaded or waited for', () => {
  const archive = fakeArchive(['gradient_squares', 'gradient_total', 'adamw_step'])
  const driver = new FakeDriver({}, archive)
  const backend = openBackend(driver, archive, 0)
  const { memory, ops } = backend
  const parameters = Array.from({ length: 310 }, (_, index) => {
    const make = (dtype: 'f32' | 'bf16') => memory.alloc([5000 + index], dtype)
    return { value: make('bf16'), gradient: make('bf16'), mean: make('f32'), variance: make('f32'), master: make('f32'), weightDecay: 0.1 }
  })
  const control = memory.alloc([3], 'f32')
  const before = driver.calls.length
  const norm = ops.gradientNorm(
    parameters.map(({ gradient }) => gradient),
    1,
  )
  ops.adamw(parameters, control, norm, { beta1: 0.9, beta2: 0.95, epsilon: 1e-8 })
  const kernels = driver.launches.map(({ kernel }) => kernel)
  expect(kernels).toEqual([...Array(3).fill('gradient_squares'), 'gradient_total', ...Array(6).fill('adamw_step')])
  // Two thread blocks of 4,096 elements each.
  expect(driver.launches.slice(4).map(({ grid }) => grid[0])).toEqual([...Array(5).fill(120), 20])
  expect(driver.calls.slice(before).filter((call) => COPIES.includes(call))).toEqual([])
  const last = parameters[parameters.length - 1]
  const packed = new DataView(driver.launches[driver.launches.length - 1].params.buffer)
  expect(packed.getBigUint64(9 * 64, true)).toBe(memory.address(last.value))
  backend.dispose()
})

test('ops on nothing launch nothing that reads or writes', () => {
  const archive = fakeArchive(['gradient_total', 'add_column_sums_f32'])
  const driver = new FakeDriver({}, archive)
  const { memory, ops } = openBackend(driver, archive, 0)
  const none = memory.alloc([0, 8], 'f32')
  const ids = memory.alloc([0], 'i32')
  const table = memory.alloc([4, 8], 'f32')
  ops.embedding(table, ids)
  ops.embeddingBackward(none, ids, table)
  ops.add(none, none)
  ops.rmsNorm(none, memory.alloc([8], 'f32'), 1e-6)
  expect(driver.launches).toEqual([])
  ops.gradientNorm([none], 1)
  expect(driver.launches.map(({ kernel }) => kernel)).toEqual(['gradient_total'])
})

test('gradients of logits take the kernel that holds rows where the GPU has it and a row fits into a cluster', () => {
  const products = ['matmul_nt_bf16_f32', 'matmul_nn_bf16_bf16', 'matmul_tn_bf16_f32']
  const launched = (kernels: readonly string[], vocabulary: number) => {
    const archive = fakeArchive([...kernels, ...products])
    const driver = new FakeDriver({}, archive)
    const backend = openBackend(driver, archive, 0)
    const { memory, ops } = backend
    const [hidden, head] = [memory.alloc([4, 16], 'bf16'), memory.alloc([vocabulary, 16], 'bf16')]
    const input = { hidden, head, targets: memory.alloc([4], 'i32'), weights: memory.alloc([4], 'f32') }
    ops.crossEntropyBackward(input, memory.alloc([vocabulary, 16], 'f32'))
    const found = driver.launches.find(({ kernel }) => kernel.startsWith('cross_entropy_gradient'))
    backend.dispose()
    return found && { kernel: found.kernel, grid: found.grid[0] }
  }
  const both = ['cross_entropy_gradient_bf16', 'cross_entropy_gradient_sm90', 'cross_entropy_total']
  expect(launched(both, 300)).toEqual({ kernel: 'cross_entropy_gradient_sm90', grid: 4 * 8 })
  expect(launched(both, 8 * 512 * 40 + 1)).toEqual({ kernel: 'cross_entropy_gradient_bf16', grid: 4 })
  expect(launched(['cross_entropy_gradient_bf16', 'cross_entropy_total'], 300)).toEqual({ kernel: 'cross_entropy_gradient_bf16', grid: 4 })
})

test('halves of a layer are five launches, a thread block a multiprocessor, each of which may begin before the one in front has ended', () => {
  const forms = ['normed', 'added', 'gated'].flatMap((form) => [1, 2, 3, 4].map((tiles) => `few_rows_${form}_bf16_t${tiles}`))
  const archive = fakeArchive([...forms, 'heads_rope_bf16'])
  const driver = new FakeDriver({}, archive)
  const { memory, ops } = openBackend(driver, archive, 0)
  const make = (...shape: number[]) => memory.alloc(shape, 'bf16')
  const [width, heads, kvHeads, headDim, inner] = [1024, 16, 8, 128, 3072]
  const end = {
    o: make(width, heads * headDim),
    norm: make(width),
    gate: make(inner, width),
    up: make(inner, width),
    down: make(width, inner),
  }
  const start = {
    norm: make(width),
    q: make(heads * headDim, width),
    k: make(kvHeads * headDim, width),
    v: make(kvHeads * headDim, width),
    qNorm: make(headDim),
    kNorm: make(headDim),
    rope: { cos: memory.alloc([8, headDim / 2], 'f32'), sin: memory.alloc([8, headDim / 2], 'f32') },
  }
  const overlapping = vi.spyOn(driver, 'cuLaunchKernelEx')
  const run = (rows: number) => {
    const before = driver.launches.length
    const [x, positions] = [make(rows, width), memory.alloc([rows], 'i32')]
    overlapping.mockClear()
    ops.projectHeads?.({ ...start, x, positions, epsilon: 1e-6 })
    ops.finishLayer?.({ ...end, x, out: make(rows, heads, headDim), epsilon: 1e-6 })
    return {
      launches: driver.launches.slice(before).map(({ kernel, grid, sharedBytes }) => [kernel, grid[0], sharedBytes]),
      overlapped: overlapping.mock.calls.length,
    }
  }
  const [kib, x] = [1024, (rows: number, depth: number) => rows * ((depth / 8) * 2 + 64) * 8]
  expect(run(1)).toEqual({
    launches: [
      ['few_rows_normed_bf16_t4', 128, 64 * kib + 2 * kib + x(1, 1024)],
      ['heads_rope_bf16', 3, 0],
      ['few_rows_added_bf16_t1', 128, 32 * kib + x(1, 2048)],
      ['few_rows_gated_bf16_t3', 128, 96 * kib + 2 * kib + x(1, 1024)],
      ['few_rows_added_bf16_t1', 128, 48 * kib + x(1, 3072)],
    ],
    // The first of each half follows a kernel that is none of these.
    overlapped: 3,
  })
  expect(run(16).launches.map(([, blocks]) => blocks)).toEqual([128, (16 * 24) / 8, 128, 128, 128])
  expect(run(17).launches.map(([kernel]) => kernel)).toEqual(['few_rows_normed_bf16_t4', 'heads_rope_bf16'])
  expect(run(65).launches).toEqual([])
})
