import type { AttentionBackend } from '../contract/attention-backend.js'
import { type DType, elementCount, type HostArray, type Tensor } from '../contract/tensor.js'
import { rounded } from './rounded.js'
import { identityCheck, type TensorCheck } from './tensor-check.js'

interface Watched {
  readonly name: string
  readonly tensor: Tensor
  readonly expected: HostArray
}

/**
 * A backend under test, with canaries: every input is downloaded after the call and must hold what it held before, and memory full of NaN
 * is freed just before each call, so that an allocator that recycles memory hands out poison.
 */
export class Probe {
  readonly backend: AttentionBackend
  readonly #watched: Watched[] = []
  readonly #owned: { dispose(): void }[] = []
  readonly #outputShapes: { shape: readonly number[]; dtype: DType }[] = []

  constructor(backend: AttentionBackend) {
    this.backend = backend
  }

  /** Uploads an input that no call may change. The data must be rounded to the dtype already. */
  input(name: string, data: HostArray, shape: readonly number[], dtype: DType): Tensor {
    const tensor = this.changing(data, shape, dtype)
    this.#watched.push({ name, tensor, expected: data.slice() })
    return tensor
  }

  /** Takes over an input that was uploaded elsewhere, with what it holds now. */
  async watch(name: string, tensor: Tensor): Promise<void> {
    this.own(tensor)
    this.#watched.push({ name, tensor, expected: await this.backend.memory.download(tensor) })
  }

  /** Uploads a tensor that a call adds to or writes. */
  changing(data: HostArray, shape: readonly number[], dtype: DType): Tensor {
    return this.own(this.backend.memory.upload(data, shape, dtype))
  }

  /** Disposes something with the probe. */
  own<T extends { dispose(): void }>(owned: T): T {
    this.#owned.push(owned)
    return owned
  }

  /** Shapes that the next calls return: their memory is poisoned too. */
  expectOutput(shape: readonly number[], dtype: DType): void {
    this.#outputShapes.push({ shape, dtype })
  }

  /** Poisons free memory, runs the call in a scope, downloads its results and frees them. */
  async call<K extends string>(run: () => Record<K, Tensor>): Promise<Record<K, HostArray>> {
    this.#poison()
    return evaluate(this.backend, run)
  }

  /** Poisons free memory and runs a call whose tensors live on until the probe is disposed. */
  keep<K extends string>(run: () => Record<K, Tensor>): Record<K, Tensor> {
    this.#poison()
    const tensors = this.backend.memory.scope(run)
    for (const tensor of Object.values<Tensor>(tensors)) this.own(tensor)
    return tensors
  }

  /** Whether all inputs still hold what was uploaded. */
  async canaries(): Promise<TensorCheck[]> {
    const checks: TensorCheck[] = []
    for (const { name, tensor, expected } of this.#watched) {
      const check = identityCheck(`unchanged ${name}`, await this.backend.memory.download(tensor), expected)
      // A report of every intact input would hide the rest.
      if (!check.ok) checks.push(check)
    }
    return checks.length > 0 ? checks : [{ name: 'inputs unchanged', measured: 0, bound: 0, ok: true }]
  }

  dispose(): void {
    for (const owned of this.#owned.reverse()) owned.dispose()
    this.#owned.length = 0
  }

  #poison(): void {
    const shapes = [...this.#outputShapes, ...this.#watched.map(({ tensor }) => ({ shape: tensor.shape, dtype: tensor.dtype }))]
    // All live at once, so that they cover as much memory as the call will ask for.
    const poisoned = shapes.map(({ shape, dtype }) => this.backend.memory.upload(poison(elementCount(shape), dtype), shape, dtype))
    for (const tensor of poisoned) tensor.dispose()
  }
}

/** Runs a call in a scope, downloads the tensors of its result and frees them. */
export async function evaluate<K extends string>(backend: AttentionBackend, run: () => Record<K, Tensor>): Promise<Record<K, HostArray>> {
  const tensors = backend.memory.scope(run)
  try {
    const downloads: Partial<Record<K, HostArray>> = {}
    for (const name of Object.keys(tensors) as K[]) downloads[name] = await backend.memory.download(tensors[name])
    return downloads as Record<K, HostArray>
  } finally {
    for (const tensor of Object.values<Tensor>(tensors)) tensor.dispose()
  }
}

/** Uploads data of a kind that fits the dtype. */
export function uploadAs(backend: AttentionBackend, data: HostArray, shape: readonly number[], dtype: DType): Tensor {
  const array = dtype === 'f64' ? Float64Array.from(data) : rounded(data, dtype)
  return backend.memory.upload(array, shape, dtype)
}

function poison(count: number, dtype: DType): HostArray {
  // The bits of NaN as an integer: far outside of every index.
  if (dtype === 'i32') return new Int32Array(count).fill(0x7fc00000)
  return dtype === 'f64' ? new Float64Array(count).fill(Number.NaN) : new Float32Array(count).fill(Number.NaN)
}
