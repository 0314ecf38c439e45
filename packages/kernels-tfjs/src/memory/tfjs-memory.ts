import {
  type AttentionSpec,
  BackendLostError,
  bytesPerElement,
  checkCopy,
  checkHostArray,
  checkShape,
  checkUsable,
  DisposedError,
  type DType,
  elementCount,
  type HostArray,
  type Memory,
  type MemoryUsage,
  ScopeStack,
  ShapeError,
  type Support,
  type Tensor,
  type TensorOwner,
  TensorView,
  UnsupportedError,
} from '@phsa/core'
import * as tf from '@tensorflow/tfjs-core'
import type { Engine } from '../engine.js'
import { FloatElements } from './elements.js'
import type { Storage, TfjsTensor } from './tfjs-tensor.js'

/** What the memory needs to know of its backend; the object itself is the identity that tensors carry. */
export interface MemoryOwner {
  readonly name: string
  supports(spec: AttentionSpec): Support
}

/** `Memory` over one TensorFlow.js engine, and what kernels need besides: to run, to read a tensor, to make one, to add to one. */
export class TfjsMemory implements Memory {
  readonly owner: TensorOwner
  readonly #engine: Pick<Engine, 'run' | 'settled'>
  readonly #scopes = new ScopeStack()
  readonly #storages = new Set<{ release(): void }>()
  #bytes = 0
  #closed = false
  #lost: BackendLostError | undefined

  constructor(engine: Pick<Engine, 'run' | 'settled'>, owner: MemoryOwner) {
    this.#engine = engine
    this.owner = {
      name: owner.name,
      backend: owner,
      supports: (spec) => owner.supports(spec),
      isDisposed: (tensor) => this.#closed || (tensor as TfjsTensor).disposed,
    }
  }

  upload(data: HostArray, shape: readonly number[], dtype: DType = defaultDType(data)): Tensor {
    this.checkOpen()
    checkShape(shape)
    checkDType(dtype)
    checkHostArray(data, shape, dtype)
    return data instanceof Int32Array ? this.fromIntegers(data.slice(), shape) : this.fromHost((data as Float32Array).slice(), shape)
  }

  write(tensor: Tensor, data: HostArray): void {
    const { storage, shape, dtype } = this.#read('tensor', tensor)
    checkHostArray(data, shape, dtype)
    if (storage.integers) storage.integers.set(data)
    else storage.floats?.setHost((data as Float32Array).slice())
  }

  alloc(shape: readonly number[], dtype: DType): Tensor {
    this.checkOpen()
    checkShape(shape)
    checkDType(dtype)
    return dtype === 'i32' ? this.fromIntegers(new Int32Array(elementCount(shape)), shape) : this.#makeFloats(shape, () => {})
  }

  zero(tensor: Tensor): void {
    const { storage } = this.#read('tensor', tensor)
    storage.integers?.fill(0)
    storage.floats?.release()
  }

  copy(source: Tensor, target: Tensor): void {
    const { storage: from } = this.#read('source', source)
    const { storage: to } = this.#read('target', target)
    checkCopy(source, target)
    if (from.integers && to.integers) to.integers.set(from.integers)
    else if (from.floats && to.floats && from !== to) this.#copyFloats(from.floats, to.floats)
  }

  reshape(tensor: Tensor, shape: readonly number[]): Tensor {
    const { storage, dtype } = this.#read('tensor', tensor)
    checkShape(shape)
    if (elementCount(shape) !== elementCount(tensor.shape)) {
      throw new ShapeError(`reshape from [${tensor.shape.join(', ')}] to [${shape.join(', ')}] changes the element count; a view keeps it.`)
    }
    return this.#track(new TensorView(this.owner.backend, dtype, shape, storage))
  }

  async download(tensor: Tensor): Promise<HostArray> {
    const { storage } = this.#read('tensor', tensor)
    const elements = storage.integers ? storage.integers.slice() : this.#engine.run(() => this.host(tensor).slice())
    await this.#settled()
    return elements
  }

  scope<T>(run: () => T): T {
    this.checkOpen()
    return this.#scopes.run(run)
  }

  usage(): MemoryUsage {
    return { tensors: this.#storages.size, bytes: this.#bytes }
  }

  /** Runs a kernel on the engine. What it makes with TensorFlow.js and does not give to a tensor of ours is freed when it returns. */
  run<T>(kernel: () => T): T {
    this.checkOpen()
    return this.#engine.run(() => {
      tf.engine().startScope()
      try {
        return kernel()
      } finally {
        // Not tf.tidy: that one searches the result for tensors, and ours is no business of its.
        tf.engine().endScope()
      }
    })
  }

  /** Elements of an f32 tensor, to read before the next TensorFlow.js call. */
  host(tensor: Tensor): Float32Array {
    return this.#floats(tensor).host()
  }

  /** Elements of an f32 tensor, to change in place. */
  writable(tensor: Tensor): Float32Array {
    return this.#floats(tensor).writable()
  }

  /** Elements of an i32 tensor, to read. */
  integers(tensor: Tensor): Int32Array {
    return this.#read('tensor', tensor).storage.integers as Int32Array
  }

  /** An f32 tensor as the engine's matrix of its last extent's columns. */
  matrix(tensor: Tensor): tf.Tensor2D {
    const elements = this.#floats(tensor)
    const columns = tensor.shape[tensor.shape.length - 1]
    return elements.engine([elements.length / Math.max(1, columns), columns]) as tf.Tensor2D
  }

  /** An f32 tensor as the engine's vector. */
  vector(tensor: Tensor): tf.Tensor1D {
    const elements = this.#floats(tensor)
    return elements.engine([elements.length]) as tf.Tensor1D
  }

  /** A new tensor that takes the array over. */
  fromHost(array: Float32Array, shape: readonly number[]): Tensor {
    return this.#makeFloats(shape, (floats) => floats.setHost(array))
  }

  /** A new tensor that takes the array over. */
  fromIntegers(array: Int32Array, shape: readonly number[]): Tensor {
    return this.#hold(shape, 'i32', undefined, array)
  }

  /** A new tensor that takes the engine's tensor over. */
  fromEngine(tensor: tf.Tensor, shape: readonly number[] = tensor.shape): Tensor {
    return this.#makeFloats(shape, (floats) => floats.setEngine(tensor))
  }

  /** Adds an engine's tensor of the same element count to an f32 tensor. */
  accumulate(tensor: Tensor, change: tf.Tensor): void {
    const floats = this.#floats(tensor)
    floats.setEngine(floats.isZero ? tf.clone(change) : tf.add(floats.engine(change.shape), change))
  }

  /** Counts bytes for something that is no tensor, a cache; `free` runs once, on release or when the backend closes. */
  reserve(bytes: number, free: () => void): { release(): void } {
    this.checkOpen()
    const held = {
      release: () => {
        if (!this.#storages.delete(held)) return
        this.#bytes -= bytes
        free()
      },
    }
    this.#storages.add(held)
    this.#bytes += bytes
    return held
  }

  /** Frees everything; every call is a DisposedError from now on. */
  close(): void {
    this.#closed = true
    for (const held of [...this.#storages]) held.release()
  }

  /** Every call but `close` throws the error from now on. */
  loseDevice(error: BackendLostError): void {
    this.#lost = error
  }

  /** @throws DisposedError when the backend is disposed; BackendLostError when its device is gone */
  checkOpen(): void {
    if (this.#lost) throw this.#lost
    if (this.#closed) throw new DisposedError(`the ${this.owner.name} backend is disposed; create a new one.`)
  }

  /** Rejects where the device went away, perhaps before the last results were read. */
  async #settled(): Promise<void> {
    try {
      await this.#engine.settled?.()
    } catch (error) {
      throw new BackendLostError('the device is gone; what was computed on it is lost. Make a new backend.', { cause: error })
    }
  }

  #copyFloats(from: FloatElements, to: FloatElements): void {
    if (from.isZero) to.release()
    else this.#engine.run(() => to.setHost(from.host().slice()))
  }

  #makeFloats(shape: readonly number[], fill: (floats: FloatElements) => void): Tensor {
    const floats = new FloatElements(elementCount(shape))
    fill(floats)
    return this.#hold(shape, 'f32', floats, undefined)
  }

  #hold(shape: readonly number[], dtype: DType, floats: FloatElements | undefined, integers: Int32Array | undefined): Tensor {
    const bytes = elementCount(shape) * bytesPerElement[dtype]
    const { release } = this.reserve(bytes, () => floats?.release())
    const storage: Storage = { floats, integers, bytes, release, views: 0 }
    return this.#track(new TensorView(this.owner.backend, dtype, shape, storage))
  }

  #track(tensor: TfjsTensor): Tensor {
    this.#scopes.add(tensor)
    return tensor
  }

  #floats(tensor: Tensor): FloatElements {
    return this.#read('tensor', tensor).storage.floats as FloatElements
  }

  #read(name: string, tensor: Tensor): TfjsTensor {
    this.checkOpen()
    checkUsable(this.owner, name, tensor)
    return tensor as TfjsTensor
  }
}

function defaultDType(data: HostArray): DType {
  if (data instanceof Int32Array) return 'i32'
  return data instanceof Float64Array ? 'f64' : 'f32'
}

function checkDType(dtype: DType): void {
  if (dtype === 'f32' || dtype === 'i32') return
  throw new UnsupportedError('dtype', `dtype is ${dtype}; tfjs holds f32 and i32. Convert to f32, or use another backend.`)
}
