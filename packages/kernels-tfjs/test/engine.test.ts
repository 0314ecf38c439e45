import { isPhsaError } from '@phsa/core'
import * as tf from '@tensorflow/tfjs-core'
import { afterEach, expect, test } from 'vitest'
import { tfjs } from '../src/index.js'

// Each test starts with the engine that the one before left current; the first with none.
afterEach(() => {
  expect(tf.memory().numTensors).toBe(0)
})

test('auto takes wasm and makes it current where none was set', async () => {
  expect(tf.getBackend()).toBeUndefined()
  const backend = await tfjs()
  expect(backend.device).toBe(`TensorFlow.js ${tf.version_core}, wasm engine (not node-gpu, node: not installed)`)
  expect(tf.getBackend()).toBe('wasm')
  expect(backend).toMatchObject({ name: 'tfjs', limits: { dtypes: ['f32'], blocking: true } })
  backend.dispose()
})

test("the user's engine stays current, and each backend computes on its own", async () => {
  const wasm = await tfjs({ engine: 'wasm' })
  const cpu = await tfjs({ engine: 'cpu' })
  expect(tf.getBackend()).toBe('wasm')
  await tf.setBackend('cpu')
  for (const backend of [wasm, cpu]) {
    const sum = backend.memory.scope(() => {
      const ones = backend.memory.upload(Float32Array.of(1, 2), [1, 2])
      return backend.ops.add(ones, ones)
    })
    expect(await backend.memory.download(sum)).toEqual(Float32Array.of(2, 4))
    expect(tf.getBackend()).toBe('cpu')
    backend.dispose()
  }
})

test('the engine is restored when a call fails', async () => {
  await tf.setBackend('cpu')
  const wasm = await tfjs({ engine: 'wasm' })
  const table = wasm.memory.alloc([2, 2], 'f32')
  expect(() => wasm.ops.embedding(table, wasm.memory.upload(Int32Array.of(7), [1]))).toThrow('ids[0] is 7')
  expect(tf.getBackend()).toBe('cpu')
  wasm.dispose()
})

test('an engine that cannot start is refused with the reason, and auto goes on to the next one', async () => {
  await tf.setBackend('cpu')
  const factory = tf.findBackendFactory('wasm')
  tf.removeBackend('wasm')
  const refused = await tfjs({ engine: 'wasm' }).catch((error: unknown) => error)
  expect(isPhsaError(refused, 'backend-unavailable') && refused.message).toMatch(
    /engine wasm: does not start: tf.removeBackend has taken wasm out of TensorFlow.js/,
  )
  const fallback = await tfjs()
  expect(fallback.device).toMatch(/cpu engine \(not node-gpu, node: not installed; not wasm: does not start: tf.removeBackend/)
  expect(tf.getBackend()).toBe('cpu')
  fallback.dispose()
  tf.registerBackend('wasm', factory, 2)
})

test.each([
  ['node', 'not installed. Install @tensorflow/tfjs-node@4.22.0, or take engine auto'],
  ['node-gpu', 'not installed. Install @tensorflow/tfjs-node-gpu@4.22.0, or take engine auto'],
  ['webgpu', 'runs in browsers only'],
] as const)('%s is refused with what to do', async (engine, reason) => {
  const refused = await tfjs({ engine }).catch((error: unknown) => error)
  expect(isPhsaError(refused, 'backend-unavailable') && refused.message).toContain(`TensorFlow.js engine ${engine}: ${reason}`)
})

test('an engine that is taken out of TensorFlow.js fails calls, not the process', async () => {
  const backend = await tfjs({ engine: 'wasm' })
  const tensor = backend.memory.upload(Float32Array.of(1), [1])
  const factory = tf.findBackendFactory('wasm')
  await tf.setBackend('cpu')
  tf.removeBackend('wasm')
  expect(() => backend.ops.add(tensor, tensor)).toThrow('the wasm engine is no longer in TensorFlow.js')
  expect(tf.getBackend()).toBe('cpu')
  tf.registerBackend('wasm', factory, 2)
  backend.dispose()
})

test('an engine that this package does not know is refused', async () => {
  const refused = await tfjs({ engine: 'webgl' as 'cpu' }).catch((error: unknown) => error)
  expect(isPhsaError(refused, 'backend-unavailable') && refused.message).toBe(
    'engine is "webgl"; kernels-tfjs takes auto, node-gpu, node, wasm, cpu, webgpu.',
  )
})
