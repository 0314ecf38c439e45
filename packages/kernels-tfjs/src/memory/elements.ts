import * as tf from '@tensorflow/tfjs-core'

/** Where f32 elements are: nowhere yet because all are zero, in a typed array of ours, or in a tensor of the engine. */
type Place =
  | { readonly kind: 'zero' }
  | { readonly kind: 'host'; readonly array: Float32Array }
  | { readonly kind: 'engine'; readonly tensor: tf.Tensor }

/** The wasm engine shows its heap; the cpu engine's tensors are typed arrays anyway. */
interface HeapBackend {
  typedArrayFromHeap(tensor: tf.TensorInfo): Float32Array
}

/**
 * The elements of an f32 tensor and its views. They move between host and engine when the other side asks, and are never in both:
 * attention gathers on the host, matrix products run on the engine, and what stays on one side is never copied.
 */
export class FloatElements {
  readonly length: number
  #place: Place = { kind: 'zero' }

  constructor(length: number) {
    this.length = length
  }

  get isZero(): boolean {
    return this.#place.kind === 'zero'
  }

  /** The elements to read, valid until the next TensorFlow.js call: a view of the wasm heap dies when the heap grows. */
  host(): Float32Array {
    if (this.#place.kind === 'engine') return viewOf(this.#place.tensor)
    return this.writable()
  }

  /** The elements to read and to change in place; they stay on the host. */
  writable(): Float32Array {
    if (this.#place.kind === 'host') return this.#place.array
    const array = this.#place.kind === 'engine' ? viewOf(this.#place.tensor).slice() : new Float32Array(this.length)
    this.setHost(array)
    return array
  }

  /** The elements as an engine's tensor of this shape, not to be disposed. Not reshaped where they have it: with libtensorflow that is an operation. */
  engine(shape: number[]): tf.Tensor {
    if (this.#place.kind === 'engine') {
      const { tensor } = this.#place
      return tf.util.arraysEqual(tensor.shape, shape) ? tensor : tf.reshape(tensor, shape)
    }
    const tensor = tf.tensor(this.#place.kind === 'host' ? this.#place.array : new Float32Array(this.length), shape, 'float32')
    this.setEngine(tensor)
    return tensor
  }

  /** Takes the array over. */
  setHost(array: Float32Array): void {
    this.release()
    this.#place = { kind: 'host', array }
  }

  /** Takes the tensor over; it outlives any `tf.tidy` around. */
  setEngine(tensor: tf.Tensor): void {
    this.release()
    this.#place = { kind: 'engine', tensor: tf.keep(tensor) }
  }

  /** Frees the elements; they read as zeros afterwards. */
  release(): void {
    if (this.#place.kind === 'engine') this.#place.tensor.dispose()
    this.#place = { kind: 'zero' }
  }
}

/** The elements of an engine's tensor, not a copy where that can be: to be read before the next TensorFlow.js call. */
export function viewOf(tensor: tf.Tensor): Float32Array {
  const backend = tf.backend() as object
  if ('typedArrayFromHeap' in backend) return (backend as HeapBackend).typedArrayFromHeap(tensor)
  return tensor.dataSync<'float32'>()
}
