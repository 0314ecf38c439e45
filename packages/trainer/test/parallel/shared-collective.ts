import { BackendLostError, type Collective, elementCount, type HostArray, type Memory, type Tensor } from '@phsa/core'

/** Numbers that one rank can give to a sum. */
const ROOM = 2 ** 16
/** A rank that waits longer than this for the others was left alone, milliseconds. */
const PATIENCE = 15_000

/** Places of the first numbers in the shared memory. */
const ARRIVED = 0
const ROUND = 1
const ENDED = 2

/** How the reference backend's own kernels read; a test may, to sum without waiting. */
interface HostReads {
  reals(tensor: Tensor): HostArray
  integers(tensor: Tensor): Int32Array
}

/** Shared memory for the sums of a group of worker threads. */
export function sharedGroup(size: number): SharedArrayBuffer {
  return new SharedArrayBuffer(16 + 8 * ROOM * size)
}

/** Tells the ranks that wait that one of them has ended. */
export function announceEnd(shared: SharedArrayBuffer, rank: number): void {
  const control = new Int32Array(shared, 0, 4)
  Atomics.store(control, ENDED, rank + 1)
  Atomics.notify(control, ROUND)
}

/**
 * A rank in a worker thread of its own, on the reference backend: each lays its numbers into shared memory, and all add them up in the order of the ranks.
 * A rank that waits blocks its thread, as a GPU's queue waits for a transfer.
 */
export class SharedCollective implements Collective {
  readonly rank: number
  readonly size: number
  /** Elements of each sum, in order. */
  readonly calls: number[] = []
  readonly #memory: Memory & HostReads
  readonly #control: Int32Array
  readonly #shared: SharedArrayBuffer

  constructor(memory: Memory, shared: SharedArrayBuffer, rank: number, size: number) {
    this.rank = rank
    this.size = size
    this.#memory = memory as Memory & HostReads
    this.#shared = shared
    this.#control = new Int32Array(shared, 0, 4)
  }

  allReduce(tensors: readonly Tensor[]): { wait(): void } {
    const values = tensors.map((tensor) => this.#elements(tensor))
    const total = values.reduce((sum, { length }) => sum + length, 0)
    this.calls.push(total)
    const places = Array.from({ length: this.size }, (_, rank) => new Float64Array(this.#shared, 16 + 8 * ROOM * rank, ROOM))
    // Another number of elements on another rank is a mistake: the sums would be of different tensors.
    places[this.rank][0] = total
    let offset = 1
    for (const each of values) {
      places[this.rank].set(each, offset)
      offset += each.length
    }
    this.#meet()
    if (places.some(([count]) => count !== total)) throw new Error(`ranks sum ${places.map(([count]) => count).join(' and ')} elements`)
    const sums = Float64Array.from({ length: total }, (_, index) => places.reduce((sum, place) => sum + place[index + 1], 0))
    this.#meet()
    let isWaited = false
    return {
      // Sums are seen after the wait, no sooner.
      wait: () => {
        if (isWaited) return
        isWaited = true
        let from = 0
        for (const tensor of tensors) {
          const count = elementCount(tensor.shape)
          const part = sums.subarray(from, from + count)
          this.#memory.write(tensor, arrayOf(tensor, part))
          from += count
        }
      },
    }
  }

  #elements(tensor: Tensor): HostArray {
    return tensor.dtype === 'i32' ? this.#memory.integers(tensor) : this.#memory.reals(tensor)
  }

  /** Returns when all ranks have come here. */
  #meet(): void {
    const round = Atomics.load(this.#control, ROUND)
    if (Atomics.add(this.#control, ARRIVED, 1) === this.size - 1) {
      Atomics.store(this.#control, ARRIVED, 0)
      Atomics.add(this.#control, ROUND, 1)
      Atomics.notify(this.#control, ROUND)
      return
    }
    const deadline = performance.now() + PATIENCE
    while (Atomics.load(this.#control, ROUND) === round) {
      const ended = Atomics.load(this.#control, ENDED)
      if (ended > 0) throw new BackendLostError(`the group has failed: rank ${ended - 1} of ${this.size} ended.`)
      if (performance.now() > deadline) throw new Error(`rank ${this.rank} was left alone in a sum`)
      Atomics.wait(this.#control, ROUND, round, 100)
    }
  }
}

function arrayOf({ dtype }: Tensor, values: Float64Array) {
  if (dtype === 'i32') return Int32Array.from(values)
  return dtype === 'f64' ? Float64Array.from(values) : Float32Array.from(values)
}
