import { bytesPerElement, DisposedError, type PagedCache, type PagedCacheOptions, subBlockTokens } from '@phsa/core'
import type { KernelMemory } from '../attention/kernel-host.js'
import type { BufferSlice } from '../device/kernel-launch.js'

/** The parts of a cache on the device. */
export interface PagedParts {
  /** [pages * pageTokens, Hkv, D] */
  readonly keyPages: BufferSlice
  readonly valuePages: BufferSlice
  /** f32: `reps`, and behind them what only `append` needs; in one buffer, because a kernel may bind eight. */
  readonly sums: BufferSlice
  /** f32 [sub-blocks, Hkv, D], the beginning of `sums`: running sums of the keys, which the representative replaces when the sub-block is complete. */
  readonly reps: BufferSlice
  /** Place in `sums` of the running sums of the punctuation keys, [sub-blocks, Hkv, D]. */
  readonly markedSumsAt: number
  /** Place in `sums` of the punctuation tokens so far, [sub-blocks, Hkv, D / 4]: one for each thread that adds up. */
  readonly marksAt: number
}

/** Keys, values and running representatives of one layer (spec 6). */
export class WebgpuPagedCache implements PagedCache {
  readonly backend: object
  readonly options: PagedCacheOptions
  readonly bytes: number
  readonly #memory: KernelMemory
  readonly #parts: PagedParts
  readonly #releases: (() => void)[] = []
  #disposed = false

  /** @throws OutOfMemoryError with what was asked and what is free */
  constructor(memory: KernelMemory, options: PagedCacheOptions) {
    this.backend = memory.owner.backend
    this.options = options
    this.#memory = memory
    const { spec, pages, pageTokens } = options
    const width = spec.kvHeads * spec.headDim
    const pageBytes = pages * pageTokens * width * bytesPerElement[spec.dtype]
    const sumCount = ((pages * pageTokens) / subBlockTokens(spec)) * width
    const repBytes = sumCount * Float32Array.BYTES_PER_ELEMENT
    const sumBytes = 2 * repBytes + repBytes / 4
    this.bytes = 2 * pageBytes + sumBytes
    const place = (bytes: number): BufferSlice => {
      const { slice, release } = memory.reserve(`a cache of ${pages} pages of ${pageTokens} tokens`, bytes)
      this.#releases.push(release)
      return slice
    }
    try {
      const sums = place(sumBytes)
      this.#parts = {
        keyPages: place(pageBytes),
        valuePages: place(pageBytes),
        sums,
        reps: { ...sums, bytes: repBytes },
        markedSumsAt: sumCount,
        marksAt: 2 * sumCount,
      }
    } catch (error) {
      this.#release()
      throw error
    }
  }

  /** @throws DisposedError */
  get parts(): PagedParts {
    this.#memory.checkOpen()
    if (this.#disposed) throw new DisposedError('the cache is disposed; dispose it after the last step of its sequences.')
    return this.#parts
  }

  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#release()
  }

  #release(): void {
    for (const release of this.#releases) release()
  }
}
