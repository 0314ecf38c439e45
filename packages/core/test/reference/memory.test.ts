import { afterEach, beforeEach, expect, test } from 'vitest'
import { isPhsaError, type ModelBackend, ReferenceBackend, reference, type Tensor } from '../../src/index.js'

let backend: ModelBackend
beforeEach(async () => {
  backend = await reference()
})
afterEach(() => backend.dispose())

test('upload copies, rounds to the type and download gives it back', async () => {
  const { memory } = backend
  const data = Float32Array.of(1 + 2 ** -9, 2)
  const [single, half] = [memory.upload(data, [2]), memory.upload(data, [1, 2], 'bf16')]
  data.fill(0)
  expect(await memory.download(single)).toEqual(Float32Array.of(1 + 2 ** -9, 2))
  expect(await memory.download(half)).toEqual(Float32Array.of(1, 2))
  expect(memory.upload(Int32Array.of(3), [1]).dtype).toBe('i32')
  expect(memory.upload(Float64Array.of(3), [1]).dtype).toBe('f64')
})

test('a download is a copy as of its call', async () => {
  const { memory } = backend
  const tensor = memory.upload(Float32Array.of(1), [1])
  const pending = memory.download(tensor)
  memory.write(tensor, Float32Array.of(2))
  const later = memory.download(tensor)
  tensor.dispose()
  expect([...(await pending), ...(await later)]).toEqual([1, 2])
  await expect(memory.download(tensor)).rejects.toThrow(/disposed/)
})

test('write, zero and copy are seen through every view', async () => {
  const { memory } = backend
  const tensor = memory.alloc([2, 2], 'f16')
  const view = memory.reshape(tensor, [4])
  memory.write(tensor, Float32Array.of(1, 2, 3, 1e6))
  expect([...(await memory.download(view))]).toEqual([1, 2, 3, Number.POSITIVE_INFINITY])
  memory.copy(memory.upload(Float64Array.of(0.1, 5, 6, 7), [2, 2]), view)
  expect((await memory.download(tensor))[0]).toBeCloseTo(0.1, 4)
  memory.zero(view)
  expect([...(await memory.download(tensor))]).toEqual([0, 0, 0, 0])
})

test('views share one allocation, which lives until the last is disposed', async () => {
  const { memory } = backend
  const tensor = memory.upload(Float32Array.of(1, 2), [2], 'bf16')
  const view = memory.reshape(tensor, [2, 1])
  expect(memory.usage()).toEqual({ tensors: 1, bytes: 4 })
  tensor.dispose()
  tensor.dispose()
  expect(memory.usage()).toEqual({ tensors: 1, bytes: 4 })
  expect([...(await memory.download(view))]).toEqual([1, 2])
  view.dispose()
  expect(memory.usage()).toEqual({ tensors: 0, bytes: 0 })
})

test('a scope frees what its result does not hold, to any depth; nested results go to the scope around', () => {
  const { memory } = backend
  const kept = memory.scope(() => {
    const inner = memory.scope(() => {
      memory.alloc([1], 'f32')
      return { list: [{ deep: memory.alloc([2], 'f32') }], note: 'text', nothing: null }
    })
    expect(memory.usage().tensors).toBe(1)
    memory.alloc([3], 'f32')
    return [inner.list[0].deep, memory.reshape(inner.list[0].deep, [2, 1])]
  })
  expect(memory.usage()).toEqual({ tensors: 1, bytes: 8 })
  for (const tensor of kept) tensor.dispose()
  memory.scope(() => {
    memory.scope(() => memory.alloc([2], 'f32'))
    expect(memory.usage().tensors).toBe(1)
  })
  expect(memory.usage().tensors).toBe(0)
})

test('a scope that throws frees everything, and leaves older tensors alone', () => {
  const { memory } = backend
  const older = memory.alloc([1], 'f32')
  const failing = () =>
    memory.scope(() => {
      memory.scope(() => memory.alloc([4], 'f32'))
      memory.alloc([4], 'f32')
      throw new RangeError('on purpose')
    })
  expect(failing).toThrow(RangeError)
  expect(memory.usage()).toEqual({ tensors: 1, bytes: 4 })
  expect(memory.scope(() => older)).toBe(older)
  // The scopes around are intact: this one frees its own.
  memory.scope(() => void memory.alloc([1], 'f32'))
  expect(memory.usage().tensors).toBe(1)
})

test('a cyclic result ends, and a Promise as result is refused with what to do', () => {
  const { memory } = backend
  const cyclic = memory.scope(() => {
    const result: { tensor: Tensor; self?: unknown } = { tensor: memory.alloc([1], 'f32') }
    result.self = result
    return result
  })
  expect(memory.usage().tensors).toBe(1)
  cyclic.tensor.dispose()
  const asynchronous = () =>
    memory.scope(async () => {
      memory.alloc([1], 'f32')
      throw new Error('a rejection that nobody else sees')
    })
  expect(asynchronous).toThrow(/must be synchronous/)
  expect(memory.usage().tensors).toBe(0)
})

test('wrong shapes, lengths and array kinds are refused', () => {
  const { memory } = backend
  expect(() => memory.upload(Float32Array.of(1), [2])).toThrow(/has 1 elements; shape \[2\] takes 2/)
  expect(() => memory.upload(Float32Array.of(1), [1], 'i32')).toThrow(/Float32Array; a tensor of i32 is written from a Int32Array/)
  expect(() => memory.upload(Int32Array.of(1), [1], 'f64')).toThrow(/Float64Array/)
  expect(() => memory.alloc([-1], 'f32')).toThrow(/extents are integers/)
  const tensor = memory.alloc([2], 'f32')
  expect(() => memory.write(tensor, Float64Array.of(1, 2))).toThrow(/Float32Array/)
  expect(() => memory.reshape(tensor, [3])).toThrow(/element count/)
  expect(() => memory.copy(tensor, memory.alloc([3], 'f32'))).toThrow(/element count/)
  expect(() => memory.copy(tensor, memory.alloc([2], 'i32'))).toThrow(/both float/)
  expect(memory.alloc([3, 0], 'f32').shape).toEqual([3, 0])
})

test('a memory limit makes an OutOfMemoryError that says what is free', () => {
  const { memory } = new ReferenceBackend({ memoryLimit: 100 })
  const held = memory.alloc([20], 'f32')
  expect(() => memory.alloc([6], 'f32')).toThrow(/needs 24 bytes; 20 of 100 are free/)
  held.dispose()
  expect(memory.alloc([25], 'f32').shape).toEqual([25])
})

test('tensors of another backend and a disposed backend are refused', async () => {
  const other = await reference()
  const foreign = other.memory.alloc([1, 1], 'f32')
  expect(codeOf(() => backend.memory.zero(foreign))).toBe('backend-mismatch')
  expect(codeOf(() => backend.ops.add(foreign, foreign))).toBe('backend-mismatch')
  other.dispose()
  other.dispose()
  foreign.dispose()
  expect(other.memory.usage()).toEqual({ tensors: 0, bytes: 0 })
  expect(codeOf(() => other.ops.add(foreign, foreign))).toBe('disposed')
  expect(codeOf(() => other.memory.alloc([1], 'f32'))).toBe('disposed')
  expect(codeOf(() => other.memory.scope(() => 1))).toBe('disposed')
  expect(codeOf(() => other.ops.gradientNorm([], 1))).toBe('disposed')
  await expect(other.prepare([])).rejects.toThrow(/disposed/)
})

function codeOf(run: () => unknown): string | undefined {
  try {
    run()
  } catch (error) {
    return isPhsaError(error) ? error.code : undefined
  }
  return undefined
}
