import { bytesPerElement, type Collective, type CollectiveTicket, elementCount, type Memory, type Tensor } from '@phsa/core'

/** Gradients go on their way together once they have so many bytes: about a layer of a 0.6B model; much less wastes the connection, much more waits too long. */
export const BUCKET_BYTES = 64 * 2 ** 20

/**
 * Sums the gradients of one step over all ranks while the backward pass goes on: they are collected in the order in which they become final, and each
 * bucket that is full is sent. Made for one step.
 */
export class GradientSums {
  readonly #collective: Collective
  readonly #gradients: ReadonlyMap<string, Tensor>
  readonly #bucketBytes: number
  /** Not sent yet, by name. */
  readonly #left: Map<string, Tensor>
  readonly #tickets: CollectiveTicket[] = []
  #bucket: Tensor[] = []
  #bytes = 0

  /** @param gradients of all parameters, by name, in an order that is the same on all ranks */
  constructor(collective: Collective, gradients: ReadonlyMap<string, Tensor>, bucketBytes = BUCKET_BYTES) {
    this.#collective = collective
    this.#gradients = gradients
    this.#bucketBytes = bucketBytes
    this.#left = new Map(gradients)
  }

  /** Takes gradients that are final; see `GradientsFinal` of @phsa/model. */
  take(names: readonly string[]): void {
    for (const name of names) {
      const gradient = this.#gradients.get(name)
      if (!gradient || !this.#left.delete(name)) continue
      this.#bucket.push(gradient)
      this.#bytes += bytesPerElement[gradient.dtype] * elementCount(gradient.shape)
      if (this.#bytes >= this.#bucketBytes) this.#send()
    }
  }

  /**
   * Sums what is left, and scalars with it. What is queued afterwards sees all sums. Inside of a memory scope.
   * @returns the sums of the scalars; they themselves stay as they are
   */
  finish(scalars: readonly Tensor[], memory: Memory): Tensor[] {
    this.take([...this.#left.keys()])
    const sums = scalars.map((scalar) => {
      const sum = memory.alloc(scalar.shape, scalar.dtype)
      memory.copy(scalar, sum)
      return sum
    })
    this.#bucket.push(...sums)
    this.#send()
    for (const ticket of this.#tickets) ticket.wait()
    return sums
  }

  #send(): void {
    this.#tickets.push(this.#collective.allReduce(this.#bucket))
    this.#bucket = []
    this.#bytes = 0
  }
}
