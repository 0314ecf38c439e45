import { type CaseResult, ConformanceSession, conformanceCases, failureText } from '@phsa/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { phsaAttention, tfjs } from '../src/index.js'
import { splitSelection } from './split-selection.js'

/** What `webgpu.test.ts` calls in the browser. Everything goes to and fro as JSON. */
export interface WebgpuPage {
  /** The device, or why there is none. */
  open(): Promise<{ device?: string; unavailable?: string }>
  /** Runs one case of the conformance suite. */
  runCase(name: string): Promise<{ outcome: CaseResult['outcome']; text: string }>
  /** `splitSelection` on a backend of its own. */
  select(...options: Parameters<typeof splitSelection> extends [unknown, ...infer Rest] ? Rest : never): Promise<number[]>
  /** How many elements of a large result differ from what they must be. */
  wrongElements(count: number): Promise<number>
  /** `phsaAttention` as an operation, and its gradient, on the user's engine: the greatest difference from the cpu engine. */
  operationError(): Promise<number>
  /** Loses the device while a backend holds tensors; what a download, `lost` and a later call say, and the device of a new backend. */
  loseDevice(): Promise<string[]>
}

let session: ConformanceSession | undefined

const page: WebgpuPage = {
  async open() {
    try {
      session = await ConformanceSession.open(() => tfjs({ engine: 'webgpu' }), [])
      return { device: session.backend.device }
    } catch (error) {
      return { unavailable: textOf(error) }
    }
  },

  async runCase(name) {
    const found = conformanceCases().find((each) => each.name === name)
    if (!session || !found) throw new Error(`${name} is not a case, or the engine is not open`)
    const result = await session.run(found)
    return { outcome: result.outcome, text: failureText(result) }
  },

  async select(...options) {
    const backend = await tfjs({ engine: 'webgpu' })
    const selected = await splitSelection(backend, ...options)
    backend.dispose()
    return selected
  },

  async wrongElements(count) {
    const backend = await tfjs({ engine: 'webgpu' })
    const { memory, ops } = backend
    const values = Float32Array.from({ length: count }, (_, index) => (index % 2 ? 1 : -1) * (index + 1 / 3))
    const tensor = memory.upload(values, [count])
    const doubled = await memory.download(ops.add(tensor, tensor))
    backend.dispose()
    return values.filter((value, index) => doubled[index] !== Math.fround(2 * value)).length
  },

  async operationError() {
    const results: Float32Array[] = []
    for (const engine of ['cpu', 'webgpu'] as const) {
      const backend = await tfjs({ engine })
      backend.dispose()
      await tf.setBackend(engine)
      const values = Float32Array.from({ length: 2 * 12 * 2 * 4 }, (_, index) => Math.sin(index * index))
      const x = tf.tensor4d(values, [2, 12, 2, 4])
      const options = { blockSize: 4, initTokens: 4, localTokens: 4, lengths: tf.tensor1d([12, 5], 'int32') }
      const attend = tf.valueAndGrad((x) => phsaAttention(x as tf.Tensor4D, x as tf.Tensor4D, x as tf.Tensor4D, options))
      const { value, grad } = attend(x, x)
      results.push(Float32Array.of(...(await value.data<'float32'>()), ...(await grad.data<'float32'>())))
      tf.dispose([x, value, grad, options.lengths])
    }
    const [expected, actual] = results
    return Math.max(...expected.map((value, index) => Math.abs(value - actual[index])))
  },

  async loseDevice() {
    const backend = await tfjs({ engine: 'webgpu' })
    const { memory, ops } = backend
    const tensor = memory.upload(Float32Array.of(1, 2), [2])
    const sum = ops.add(tensor, tensor)
    ;(tf.findBackend('webgpu') as unknown as { device: { destroy(): void } }).device.destroy()
    const download = await memory.download(sum).then(() => 'read', textOf)
    const lost = await backend.lost
    const later = await memory.download(sum).then(() => 'read', textOf)
    const { device } = await tfjs({ engine: 'webgpu' })
    return [download, textOf(lost), later, device]
  },
}

function textOf(error: unknown): string {
  return error instanceof Error ? `${(error as { code?: string }).code}: ${error.message}` : String(error)
}

Object.assign(globalThis, { webgpuPage: page })
