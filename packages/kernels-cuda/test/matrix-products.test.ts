import { afterEach, expect, test, vi } from 'vitest'
import { openBackend } from '../src/open-backend.js'
import { MOST_PLANS } from '../src/products/lt-products.js'
import type { CublasLtSource } from '../src/products/open-products.js'
import { FakeCublasLt, type FakeLibrary } from './fake-cublas-lt.js'
import { FakeDriver, fakeArchive } from './fake-driver.js'

const KERNELS = ['matmul_nt_bf16_bf16', 'matmul_nn_bf16_bf16', 'matmul_tn_bf16_f32', 'matmul_nt_f32_f32']
const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
afterEach(() => warn.mockClear())

function openWith(source: CublasLtSource) {
  const archive = fakeArchive(KERNELS)
  const driver = new FakeDriver({}, archive)
  return { driver, backend: openBackend(driver, archive, 0, source) }
}

function open(library: FakeLibrary = {}) {
  const lt = new FakeCublasLt(library)
  return { lt, ...openWith(() => ({ lt, file: 'libcublasLt.so.13' })) }
}

test('x Wt, dy W and dyT x, as cuBLASLt counts: in columns, right before left', () => {
  const { backend, lt, driver } = open()
  const { memory, ops } = backend
  const [x, weight, dy] = [memory.alloc([5, 16], 'bf16'), memory.alloc([24, 16], 'bf16'), memory.alloc([5, 24], 'bf16')]
  const dWeight = memory.alloc([24, 16], 'f32')
  const y = ops.linear(x, weight)
  const dx = ops.linearBackward(dy, x, weight, dWeight)
  ops.linearBackward(dy, x, weight, dWeight, dx)
  const of = (...tensors: (typeof x)[]) => tensors.map((tensor) => memory.address(tensor))
  const BF16 = 14
  const F32 = 0
  const [forward, weightGradient, inputGradient, , added] = lt.matmuls
  expect(forward).toMatchObject({
    transposed: { a: true, b: false },
    layouts: [
      [16, 24, 16, BF16],
      [16, 5, 16, BF16],
      [24, 5, 24, BF16],
    ],
    operands: of(weight, x, y),
    beta: 0,
  })
  expect(weightGradient).toMatchObject({
    transposed: { a: false, b: true },
    layouts: [
      [16, 5, 16, BF16],
      [24, 5, 24, BF16],
      [16, 24, 16, F32],
    ],
    operands: of(x, dy, dWeight),
    beta: 1,
  })
  expect(inputGradient).toMatchObject({ transposed: { a: false, b: false }, operands: of(weight, dy, dx), beta: 0 })
  expect(added).toMatchObject({ operands: of(weight, dy, dx), beta: 1 })
  expect(driver.streams.has(forward.stream)).toBe(true)
  expect(driver.launches).toEqual([])
})

test('one plan a shape; all that was made is destroyed with the backend', () => {
  const { backend, lt } = open()
  const [x, weight] = [backend.memory.alloc([5, 16], 'bf16'), backend.memory.alloc([24, 16], 'bf16')]
  for (let call = 0; call < 3; call++) backend.ops.linear(x, weight)
  expect(lt.count('cublasLtMatmulAlgoGetHeuristic')).toBe(1)
  expect([...lt.alive.values()].sort()).toEqual(['description', 'handle', 'layout', 'layout', 'layout'])
  backend.dispose()
  backend.dispose()
  expect(lt.alive.size).toBe(0)
})

test('the plan used longest ago makes room for a new one', () => {
  const { backend, lt } = open()
  const weight = backend.memory.alloc([8, 8], 'bf16')
  const product = (tokens: number) => backend.memory.scope(() => void backend.ops.linear(backend.memory.alloc([tokens, 8], 'bf16'), weight))
  for (let tokens = 1; tokens <= MOST_PLANS; tokens++) product(tokens)
  product(1)
  product(MOST_PLANS + 1)
  expect(lt.count('cublasLtMatmulDescDestroy')).toBe(1)
  const planned = lt.count('cublasLtMatmulAlgoGetHeuristic')
  product(1)
  expect(lt.count('cublasLtMatmulAlgoGetHeuristic')).toBe(planned)
  product(2)
  expect(lt.count('cublasLtMatmulAlgoGetHeuristic')).toBe(planned + 1)
})

test('an algorithm that wants a workspace gets one, which is no tensor and is used again', () => {
  const { backend, lt, driver } = open({ workspaceBytes: 1000 })
  const [x, weight] = [backend.memory.alloc([5, 16], 'bf16'), backend.memory.alloc([24, 16], 'bf16')]
  backend.ops.linear(x, weight).dispose()
  const taken = driver.deviceBytes
  backend.ops.linear(x, weight).dispose()
  expect(driver.deviceBytes).toBe(taken)
  expect(lt.matmuls.map(({ workspaceBytes }) => workspaceBytes)).toEqual([32 * 2 ** 20, 32 * 2 ** 20])
  expect(backend.memory.usage().tensors).toBe(2)
})

test('what cuBLASLt has no algorithm for, and sums of nothing, are for the kernels', () => {
  const { backend, lt, driver } = open({ knowsAll: false })
  const weight = backend.memory.alloc([24, 16], 'bf16')
  backend.ops.linear(backend.memory.alloc([5, 16], 'bf16'), weight)
  expect(driver.launches.map(({ kernel }) => kernel)).toEqual(['matmul_nt_bf16_bf16'])
  backend.ops.linear(backend.memory.alloc([5, 0], 'bf16'), backend.memory.alloc([24, 0], 'bf16'))
  backend.ops.linear(backend.memory.alloc([0, 16], 'bf16'), weight)
  expect(driver.launches).toHaveLength(2)
  expect(lt.matmuls).toEqual([])
  expect(lt.count('cublasLtMatmulAlgoGetHeuristic')).toBe(1)
  expect([...lt.alive.values()]).toEqual(['handle'])
  expect(warn).not.toHaveBeenCalled()
})

test('without cuBLASLt there is one warning that says what to do, at the first product', () => {
  const { backend, driver } = openWith(() => undefined)
  expect(warn).not.toHaveBeenCalled()
  const [x, weight] = [backend.memory.alloc([5, 16], 'f32'), backend.memory.alloc([300, 16], 'f32')]
  for (let call = 0; call < 2; call++) backend.ops.linear(x, weight)
  expect(driver.launches.map(({ kernel, grid }) => [kernel, ...grid])).toEqual(Array(2).fill(['matmul_nt_f32_f32', 3, 1, 1]))
  expect(warn).toHaveBeenCalledExactlyOnceWith(
    expect.stringMatching(/there is no cuBLASLt; .* half as fast or slower\. Install cuBLAS/),
    expect.objectContaining({ code: 'PHSA_NO_CUBLASLT' }),
  )
  backend.dispose()
})

test('cublasLt: false is no reason for a warning', () => {
  const { backend, driver } = openWith(false)
  const x = backend.memory.alloc([5, 16], 'bf16')
  backend.ops.linear(x, x)
  expect(driver.launches).toHaveLength(1)
  expect(warn).not.toHaveBeenCalled()
})

test('a cuBLASLt that does not work with this GPU is done without, with its own words', () => {
  const { backend, lt, driver } = open()
  lt.failures.set('cublasLtCreate', [8])
  const x = backend.memory.alloc([5, 16], 'bf16')
  backend.ops.linear(x, x)
  expect(driver.launches).toHaveLength(1)
  expect(warn).toHaveBeenCalledExactlyOnceWith(
    expect.stringMatching(/libcublasLt\.so\.13 does not work here \(cublasLtCreate: STATUS_8 \(8\), what 8 means/),
    expect.anything(),
  )
})

test.each(['cublasLtCreate', 'cublasLtMatmul', 'cublasLtMatmulDescCreate'])('no memory in %s is an OutOfMemoryError', (call) => {
  const { backend, lt } = open()
  lt.failures.set(call, [3])
  const x = backend.memory.alloc([5, 16], 'bf16')
  expect(() => backend.ops.linear(x, x)).toThrow(expect.objectContaining({ code: 'out-of-memory' }))
  backend.ops.linear(x, x)
  expect(lt.matmuls.length).toBeGreaterThan(0)
})

test.each([
  'cublasLtMatrixLayoutCreate',
  'cublasLtMatmulPreferenceCreate',
  'cublasLtMatmulPreferenceSetAttribute',
  'cublasLtMatmulAlgoGetHeuristic',
])('a failure of %s leaves nothing behind', (call) => {
  const { backend, lt } = open()
  lt.failures.set(call, [7])
  const x = backend.memory.alloc([5, 16], 'bf16')
  expect(() => backend.ops.linear(x, x)).toThrow(
    expect.objectContaining({ code: 'cuda', result: 7, message: expect.stringContaining(`${call}: STATUS_7 (7), what 7 means`) }),
  )
  expect([...lt.alive.values()]).toEqual(['handle'])
})

test('a product that fails because a kernel broke the device is its loss', async () => {
  const { backend, lt, driver } = open()
  const x = backend.memory.alloc([5, 16], 'bf16')
  lt.failures.set('cublasLtMatmul', [13])
  driver.failures.set('cuMemGetInfo', [700])
  expect(() => backend.ops.linear(x, x)).toThrow(expect.objectContaining({ code: 'backend-lost' }))
  expect((await backend.lost).code).toBe('backend-lost')
  backend.dispose()
  expect(lt.alive.size).toBe(0)
})

test('the GPU is left also where cuBLASLt does not end in good order', () => {
  const { backend, lt, driver } = open()
  const x = backend.memory.alloc([5, 16], 'bf16')
  backend.ops.linear(x, x)
  lt.failures.set('cublasLtDestroy', [14])
  expect(() => backend.dispose()).toThrow('cublasLtDestroy')
  expect([driver.contexts, driver.streams.size]).toEqual([0, 0])
})

test('a result is not left behind where its product finds no memory', () => {
  const { backend, lt } = open()
  const x = backend.memory.alloc([5, 16], 'bf16')
  const before = backend.memory.usage()
  lt.failures.set('cublasLtMatmul', [3])
  expect(() => backend.ops.linear(x, x)).toThrow(expect.objectContaining({ code: 'out-of-memory' }))
  expect(backend.memory.usage()).toEqual(before)
})
