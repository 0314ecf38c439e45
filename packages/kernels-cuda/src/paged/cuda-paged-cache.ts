import { type AttentionSpec, bytesPerElement, DisposedError, type PagedCache, type PagedCacheOptions, subBlockTokens } from '@phsa/core'
import type { KernelMemory } from '../attention/kernel-host.js'

/** Where the parts of a cache lie on the device. */
export interface PagedAddresses {
  /** [pages * pageTokens, Hkv, D] */
  readonly keyPages: bigint
  readonly valuePages: bigint
  /** f32 [sub-blocks, Hkv, D]: running sums of the keys and of the punctuation keys, and the final representatives. */
  readonly keySums: bigint
  readonly markedSums: bigint
  readonly reps: bigint
  /** i32 [sub-blocks, Hkv]: punctuation tokens so far; one a KV head, because each is summed by itself. */
  readonly marked: bigint
}

/** The parts start where any access is aligned. */
const ALIGNMENT = 256

/** Keys, values and running representatives of one layer in one piece of device memory (spec 6). */
export class CudaPagedCache implements PagedCache {
  readonly backend: object
  readonly options: PagedCacheOptions
  readonly bytes: number
  readonly #addresses: PagedAddresses
  readonly #release: () => void
  readonly #memory: KernelMemory
  #disposed = false

  /** @throws OutOfMemoryError with what was asked and what is free */
  constructor(memory: KernelMemory, options: PagedCacheOptions) {
    this.backend = memory.owner.backend
    this.options = options
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
      keySums: place(parts.keySums),
      markedSums: place(parts.markedSums),
      reps: place(parts.reps),
      marked: place(parts.marked),
    }
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
    this.#release()
  }
}

function partBytes({ spec, pages, pageTokens }: PagedCacheOptions): Record<keyof PagedAddresses, number> {
  const tokens = pages * pageTokens
  const rows = (tokens / subBlockTokens(spec)) * spec.kvHeads
  const values = tokens * width(spec) * bytesPerElement[spec.dtype]
  const sums = rows * spec.headDim * Float32Array.BYTES_PER_ELEMENT
  const counts = rows * Int32Array.BYTES_PER_ELEMENT
  return { keyPages: values, valuePages: values, keySums: sums, markedSums: sums, reps: sums, marked: counts }
}

function width({ kvHeads, headDim }: AttentionSpec): number {
  return kvHeads * headDim
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT
}
