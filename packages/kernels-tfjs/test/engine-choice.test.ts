import { isPhsaError } from '@phsa/core'
import { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu'
import * as tf from '@tensorflow/tfjs-core'
import { afterEach, expect, test } from 'vitest'
import { tfjs } from '../src/index.js'

/**
 * Passes for the engine of tfjs-node, which is not installed here (scripts/test-tfjs-node.mjs tests the real ones). It computes like the cpu engine,
 * under the name that both packages register.
 */
class NodeEngine extends MathBackendCPU {
  readonly isGPUPackage: boolean
  readonly isUsingGpuDevice: boolean

  constructor(isGPUPackage: boolean, isUsingGpuDevice: boolean) {
    super()
    this.isGPUPackage = isGPUPackage
    this.isUsingGpuDevice = isUsingGpuDevice
  }
}

/** Registers it and makes it current, as loading the package does. */
async function loadNodeEngine(engine: tf.KernelBackend, kernels = tf.getKernelsForBackend('cpu')) {
  for (const kernel of kernels) tf.registerKernel({ ...kernel, backendName: 'tensorflow' })
  tf.registerBackend('tensorflow', () => engine, 3)
  await tf.setBackend('tensorflow')
}

afterEach(() => {
  for (const { kernelName } of tf.getKernelsForBackend('tensorflow')) tf.unregisterKernel(kernelName, 'tensorflow')
  if (tf.findBackendFactory('tensorflow')) tf.removeBackend('tensorflow')
})

async function reasonOf(engine: 'node' | 'wasm'): Promise<string> {
  const refused = await tfjs({ engine }).catch((error: unknown) => error)
  if (!isPhsaError(refused, 'backend-unavailable')) throw refused
  return refused.message
}

test("the user's engine is current, and computes, while another one starts", async () => {
  await tf.setBackend('cpu')
  let pending = true
  const starting = tfjs({ engine: 'wasm' }).finally(() => {
    pending = false
  })
  for (let times = 0; pending; times++) {
    expect(tf.getBackend()).toBe('cpu')
    const sum = tf.tidy(() => [...tf.add(tf.tensor1d([times]), 1).dataSync()])
    expect(sum).toEqual([times + 1])
    await new Promise(setImmediate)
  }
  const backend = await starting
  expect(tf.getBackend()).toBe('cpu')
  backend.dispose()
})

test('two starts at once share the engine', async () => {
  tf.removeBackend('cpu')
  const made: tf.KernelBackend[] = []
  const factory = async () => {
    made.push(new MathBackendCPU())
    return made[made.length - 1]
  }
  tf.registerBackend('cpu', factory)
  const backends = await Promise.all([tfjs({ engine: 'cpu' }), tfjs({ engine: 'cpu' })])
  expect(made).toHaveLength(2)
  expect(made).toContain(tf.findBackend('cpu'))
  for (const backend of backends) expect(await backend.memory.download(backend.memory.alloc([1], 'f32'))).toEqual(Float32Array.of(0))
})

test('an engine whose kernels cannot be set up is refused, and ends no process', async () => {
  const factory = tf.findBackendFactory('wasm')
  tf.removeBackend('wasm')
  tf.registerBackend('wasm', () => new MathBackendCPU())
  expect(await reasonOf('wasm')).toContain('engine wasm: does not start')
  tf.removeBackend('wasm')
  tf.registerBackend('wasm', factory, 2)
})

test('an engine that the user is starting is waited for', async () => {
  tf.registerBackend('slow', () => new Promise((resolve) => setTimeout(() => resolve(new MathBackendCPU()), 20)))
  const users = tf.setBackend('slow')
  const backend = await tfjs({ engine: 'cpu' })
  expect(await users).toBe(true)
  expect(tf.getBackend()).toBe('slow')
  backend.dispose()
  tf.removeBackend('slow')
})

test('a call while the user is starting another engine is refused, and does not disturb that', async () => {
  const backend = await tfjs({ engine: 'cpu' })
  const made: tf.KernelBackend[] = []
  tf.registerBackend(
    'slow',
    () =>
      new Promise((resolve) =>
        setTimeout(() => {
          made.push(new MathBackendCPU())
          resolve(made[made.length - 1])
        }, 20),
      ),
  )
  const users = tf.setBackend('slow')
  const ones = backend.memory.upload(Float32Array.of(1), [1])
  expect(() => backend.ops.add(ones, ones)).toThrow(
    'TensorFlow.js is starting its engine slow, and computes nothing meanwhile; await tf.ready()',
  )
  expect(await users).toBe(true)
  expect(await backend.memory.download(backend.ops.add(ones, ones))).toEqual(Float32Array.of(2))
  expect(tf.getBackend()).toBe('slow')
  expect(made).toHaveLength(1)
  backend.dispose()
  tf.removeBackend('slow')
})

test('where none is set, an engine that fails is not left as the default', async () => {
  tf.removeBackend('cpu')
  tf.registerBackend('cpu', () => new MathBackendCPU())
  expect(tf.getBackend()).toBeNull()
  tf.removeBackend('wasm')
  expect(await reasonOf('wasm')).toContain('engine wasm: ')
  expect(tf.getBackend()).toBeNull()
  expect(tf.tidy(() => tf.add(1, 1).dataSync()[0])).toBe(2)
  expect(tf.getBackend()).toBe('cpu')
})

test.each([
  [false, false, 'node engine (not node-gpu: not installed)'],
  [true, true, 'node-gpu engine'],
  [true, false, 'node-gpu engine on the CPU, because it finds no GPU'],
])('auto takes the engine of tfjs-node that is loaded: GPU package %s, GPU %s', async (isGpuPackage, usesGpu, expected) => {
  await loadNodeEngine(new NodeEngine(isGpuPackage, usesGpu))
  const backend = await tfjs()
  expect(backend.device).toBe(`TensorFlow.js ${tf.version_core}, ${expected}`)
  expect(tf.getBackend()).toBe('tensorflow')
  backend.dispose()
})

test('an engine that loads but cannot compute is refused, each time for the same reason', async () => {
  await loadNodeEngine(new NodeEngine(false, false), [])
  await tf.setBackend('cpu')
  for (let times = 0; times < 2; times++) expect(await reasonOf('node')).toMatch(/engine node: does not start: Kernel .* not registered/)
  expect(tf.getBackend()).toBe('cpu')
})

test('an engine of that name from elsewhere is taken for neither', async () => {
  await loadNodeEngine(new MathBackendCPU())
  expect(await reasonOf('node')).toContain('an engine tensorflow that is not of @tensorflow/tfjs-node')
})
