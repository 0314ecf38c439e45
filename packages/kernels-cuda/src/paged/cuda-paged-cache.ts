import { type AttentionSpec, bytesPerElement, DisposedError, type PagedCache, type PagedCacheOptions, subBlockTokens } from '@phsa/core'
import type { KernelDevice, KernelMemory } from '../attention/kernel-host.js'
import type { ClusterDevice } from './select-decode.js'
import { ARRIVALS, hasSelectPaged } from './select-paged.js'

/** What a cache and the steps of decoding need of a device besides: parts of a cache are cleared once. */
export interface PagedDevice extends KernelDevice, ClusterDevice {
  fill8(address: bigint, value: number, count: number): void
}

/** Where the parts of a cache lie on the device. */
export interface PagedAddresses {
  /** [pages * pageTokens, Hkv, D] */
  readonly keyPages: bigint
  readonly valuePages: bigint
  /** f32 [sub-blocks, Hkv, D]: running sums of the keys, which the representative replaces when the sub-block is complete. */
  readonly reps: bigint
  /** f32 [sub-blocks, Hkv, D]: running sums of the punctuation keys. */
  readonly markedSums: bigint
  /** i32 [sub-blocks, Hkv]: punctuation tokens so far; one a KV head, because each is summed by itself. */
  readonly marked: bigint
  /** f16 [sub-blocks, Hkv, D]: complete representatives, where the fast choice of blocks reads them; else 0n. */
  readonly halfReps: bigint
  /** i32 [ARRIVALS]: counters of thread blocks that share work, 0 between kernels. */
  readonly arrivals: bigint
}

/** The parts start where any access is aligned. */
const ALIGNMENT = 256
const HALF_BYTES = 2

/** Keys, values and running representatives of one layer in one piece of device memory (spec 6). */
export class CudaPagedCache implements PagedCache {
  readonly backend: object
  readonly options: PagedCacheOptions
  readonly bytes: number
  readonly #addresses: PagedAddresses
  readonly #release: () => void
  readonly #device: PagedDevice
  readonly #memory: KernelMemory
  #exchange: ReturnType<KernelMemory['reserve']> | undefined
  #disposed = false

  /** @throws OutOfMemoryError with what was asked and what is free */
  constructor(device: PagedDevice, memory: KernelMemory, options: PagedCacheOptions) {
    this.backend = memory.owner.backend
    this.options = options
    this.#device = device
    this.#memory = memory
    const { pages, pageTokens } = options
    const parts = partBytes(options)
    this.bytes = Object.values(parts).reduce((sum, bytes) => sum + aligned(bytes), 0)
    const reserved = memory.reserve(`a cache of ${pages} pages of ${pageTokens} tokens`, this.bytes)
    this.#release = () => reserved.release()
    let next = reserved.address
    const place = (bytes: number) => {
      const address = next
      next += BigInt(aligned(bytes))
      return address
    }
    this.#addresses = {
      keyPages: place(parts.keyPages),
      valuePages: place(parts.valuePages),
      reps: place(parts.reps),
      markedSums: place(parts.markedSums),
      marked: place(parts.marked),
      halfReps: parts.halfReps > 0 ? place(parts.halfReps) : 0n,
      arrivals: place(parts.arrivals),
    }
    const { halfReps, arrivals } = this.#addresses
    // The choice loads representatives of blocks in whole batches, also of those that are not there yet, and passes these over.
    if (halfReps > 0n) device.fill8(halfReps, 0, parts.halfReps)
    device.fill8(arrivals, 0, parts.arrivals)
  }

  /**
   * Memory for launches whose thread blocks send each other words, zeros at first: the same for all of one size, made the first time, which cannot be recorded.
   * @throws OutOfMemoryError; CaptureError
   */
  exchange(bytes: number): bigint {
    if (!this.#exchange) {
      this.#exchange = this.#memory.reserve('places for the words of a step', bytes)
      this.#device.fill8(this.#exchange.address, 0, bytes)
    }
    return this.#exchange.address
  }

  /** @throws DisposedError */
  get addresses(): PagedAddresses {
    this.#memory.checkOpen()
    if (this.#disposed) throw new DisposedError('the cache is disposed; dispose it after the last step of its sequences.')
    return this.#addresses
  }

  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#exchange?.release()
    this.#release()
  }
}

function partBytes({ spec, pages, pageTokens }: PagedCacheOptions): Record<keyof PagedAddresses, number> {
  const tokens = pages * pageTokens
  const rows = (tokens / subBlockTokens(spec)) * spec.kvHeads
  const values = tokens * width(spec) * bytesPerElement[spec.dtype]
  const elements = rows * spec.headDim
  const sums = elements * Float32Array.BYTES_PER_ELEMENT
  return {
    keyPages: values,
    valuePages: values,
    reps: sums,
    markedSums: sums,
    marked: rows * Int32Array.BYTES_PER_ELEMENT,
    halfReps: hasSelectPaged(spec) ? elements * HALF_BYTES : 0,
    arrivals: ARRIVALS * Int32Array.BYTES_PER_ELEMENT,
  }
}

function width({ kvHeads, headDim }: AttentionSpec): number {
  return kvHeads * headDim
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT
}
