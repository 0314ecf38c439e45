import { checkCopy, checkHostArray, checkShape } from '../checks/check-host-array.js'
import { checkUsable } from '../checks/check-tensor.js'
import type { TensorOwner } from '../checks/tensor-owner.js'
import type { Memory, MemoryUsage } from '../contract/memory.js'
import { bytesPerElement, type DType, elementCount, type HostArray, type Tensor } from '../contract/tensor.js'
import { DisposedError } from '../errors/disposed-error.js'
import { OutOfMemoryError } from '../errors/out-of-memory-error.js'
import { ShapeError } from '../errors/shape-error.js'
import { roundArray, roundToType } from '../rounding.js'
import { type SharedStorage, TensorView } from '../tensor-view.js'
import type { Reals } from './host-layout.js'
import { ScopeStack } from './scope-stack.js'

/** Elements that one tensor and its views share. 16-bit types are held as rounded float32, but count with their own size. */
interface Storage extends SharedStorage {
  readonly elements: HostArray
}

type HostTensor = TensorView<Storage>

/** `Memory` in typed arrays, and what kernels of a host-side backend need besides: to read a tensor, to make one, to add to one. */
export class HostMemory implements Memory {
  readonly #owner: TensorOwner
  readonly #limit: number
  readonly #scopes = new ScopeStack()
  #tensors = 0
  #bytes = 0
  #closed = false

  /** @param limit bytes that may be held at once; more is an OutOfMemoryError */
  constructor(backend: object, owner: Omit<TensorOwner, 'backend' | 'isDisposed'>, limit = Number.POSITIVE_INFINITY) {
    this.#owner = { ...owner, supports: (spec) => owner.supports(spec), backend, isDisposed: (tensor) => this.#isDisposed(tensor) }
    this.#limit = limit
  }

  /** For the checks of inputs. */
  get owner(): TensorOwner {
    return this.#owner
  }

  upload(data: HostArray, shape: readonly number[], dtype: DType = defaultDType(data)): Tensor {
    checkShape(shape)
    checkHostArray(data, shape, dtype)
    return this.make(data, shape, dtype)
  }

  write(tensor: Tensor, data: HostArray): void {
    const { storage, dtype, shape } = this.#read('tensor', tensor)
    checkHostArray(data, shape, dtype)
    storage.elements.set(roundArray(data, dtype))
  }

  alloc(shape: readonly number[], dtype: DType): Tensor {
    checkShape(shape)
    return this.#hold(shape, dtype, () => zeros(elementCount(shape), dtype))
  }

  zero(tensor: Tensor): void {
    this.#read('tensor', tensor).storage.elements.fill(0)
  }

  copy(source: Tensor, target: Tensor): void {
    const from = this.#read('source', source)
    const to = this.#read('target', target)
    checkCopy(source, target)
    to.storage.elements.set(roundArray(from.storage.elements, to.dtype))
  }

  reshape(tensor: Tensor, shape: readonly number[]): Tensor {
    const { storage, dtype } = this.#read('tensor', tensor)
    checkShape(shape)
    if (elementCount(shape) !== elementCount(tensor.shape)) {
      throw new ShapeError(`reshape from [${tensor.shape.join(', ')}] to [${shape.join(', ')}] changes the element count; a view keeps it.`)
    }
    return this.#track(new TensorView(this.#owner.backend, dtype, shape, storage))
  }

  async download(tensor: Tensor): Promise<HostArray> {
    return this.#read('tensor', tensor).storage.elements.slice()
  }

  scope<T>(run: () => T): T {
    this.checkOpen()
    return this.#scopes.run(run)
  }

  usage(): MemoryUsage {
    return { tensors: this.#tensors, bytes: this.#bytes }
  }

  /** The elements of a floating-point tensor, not a copy: kernels read them only. */
  reals(tensor: Tensor): Reals {
    return this.#read('tensor', tensor).storage.elements as Reals
  }

  /** The elements of an i32 tensor, not a copy. */
  integers(tensor: Tensor): Int32Array {
    return this.#read('tensor', tensor).storage.elements as Int32Array
  }

  /** A new tensor of computed values, each rounded once to the type. */
  make(values: ArrayLike<number>, shape: readonly number[], dtype: DType): Tensor {
    return this.#hold(shape, dtype, () => roundArray(values, dtype))
  }

  /** Replaces the elements of a tensor by computed values, each rounded once. */
  store(tensor: Tensor, values: ArrayLike<number>): void {
    const { storage, dtype } = this.#read('tensor', tensor)
    storage.elements.set(roundArray(values, dtype))
  }

  /** Adds computed values to a tensor in place; each sum is rounded once. */
  accumulate(tensor: Tensor, values: Float64Array): void {
    const { storage, dtype } = this.#read('tensor', tensor)
    const { elements } = storage
    for (let index = 0; index < elements.length; index++) elements[index] = roundToType(elements[index] + values[index], dtype)
  }

  /** Takes bytes for something that is no tensor, a cache; `release` gives them back. @throws OutOfMemoryError */
  reserve(what: string, bytes: number): { release(): void } {
    this.checkOpen()
    if (this.#bytes + bytes > this.#limit) {
      throw new OutOfMemoryError(
        `${what} needs ${bytes} bytes; ${this.#limit - this.#bytes} of ${this.#limit} are free. Dispose tensors, or raise memoryLimit.`,
      )
    }
    this.#tensors++
    this.#bytes += bytes
    let held = true
    return {
      release: () => {
        // Closing has given everything back already.
        if (!held || this.#closed) return
        held = false
        this.#tensors--
        this.#bytes -= bytes
      },
    }
  }

  /** Every tensor counts as disposed from now on, and every call is a DisposedError. */
  close(): void {
    this.#closed = true
    this.#tensors = 0
    this.#bytes = 0
  }

  /** @throws DisposedError when the backend is disposed */
  checkOpen(): void {
    if (this.#closed) throw new DisposedError(`the ${this.#owner.name} backend is disposed; create a new one.`)
  }

  #hold(shape: readonly number[], dtype: DType, elements: () => HostArray): Tensor {
    const reserved = this.reserve(`a ${dtype} tensor [${shape.join(', ')}]`, elementCount(shape) * bytesPerElement[dtype])
    const storage: Storage = { elements: elements(), release: reserved.release, views: 0 }
    return this.#track(new TensorView(this.#owner.backend, dtype, shape, storage))
  }

  #track(tensor: HostTensor): Tensor {
    this.#scopes.add(tensor)
    return tensor
  }

  #read(name: string, tensor: Tensor): HostTensor {
    this.checkOpen()
    checkUsable(this.#owner, name, tensor)
    return tensor as HostTensor
  }

  #isDisposed(tensor: Tensor): boolean {
    return this.#closed || (tensor as HostTensor).disposed
  }
}

function zeros(length: number, dtype: DType): HostArray {
  if (dtype === 'i32') return new Int32Array(length)
  return dtype === 'f64' ? new Float64Array(length) : new Float32Array(length)
}

function defaultDType(data: HostArray): DType {
  if (data instanceof Int32Array) return 'i32'
  return data instanceof Float64Array ? 'f64' : 'f32'
}
