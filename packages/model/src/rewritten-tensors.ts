import type { DType, HostArray, Memory, Tensor } from '@phsa/core'

/** The part of `Memory` that makes tensors from host data. */
export type Uploads = Pick<Memory, 'upload'>

/**
 * Tensors that are uploaded once and written over from then on: what a recorded step reads. Each pass asks for the same ones in the same order; code
 * that uploads need not know of it. Made outside of memory scopes; `dispose` frees them.
 */
export class RewrittenTensors implements Uploads {
  readonly #memory: Memory
  readonly #tensors: Tensor[] = []
  #next = 0

  constructor(memory: Memory) {
    this.#memory = memory
  }

  /** Begins the next pass. */
  rewind(): void {
    this.#next = 0
  }

  /** The tensor of this place in the pass, with this data. @throws ShapeError for other data than fits there */
  upload(data: HostArray, shape: readonly number[], dtype?: DType): Tensor {
    const known = this.#tensors.at(this.#next++)
    if (known) {
      this.#memory.write(known, data)
      return known
    }
    const tensor = this.#memory.upload(data, shape, dtype)
    this.#tensors.push(tensor)
    return tensor
  }

  dispose(): void {
    for (const tensor of this.#tensors.splice(0)) tensor.dispose()
    this.#next = 0
  }
}
