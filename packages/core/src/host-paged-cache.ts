import type { AttentionSpec } from './contract/attention-spec.js'
import type { PagedCache, PagedCacheOptions } from './contract/paged-attention.js'
import { bytesPerElement } from './contract/tensor.js'
import { derivedDType } from './derived-dtype.js'
import { OutOfMemoryError } from './errors/out-of-memory-error.js'

/** Elements of a paged cache in host memory (spec 6). Row `slot` of k and v is token `slot % pageTokens` of page `floor(slot / pageTokens)`. */
export interface PagedArrays<Reals = Float32Array | Float64Array> {
  /** [pages * pageTokens, Hkv, D], values of the spec's type. */
  readonly k: Reals
  readonly v: Reals
  /** `[sub-blocks, Hkv, D]`: running sums of each sub-block, and its final representative. Their type rounds what is stored: f32, or f64 for f64. */
  readonly keySums: Reals
  readonly markedSums: Reals
  readonly reps: Reals
  /** `[sub-blocks]`: punctuation tokens so far. */
  readonly marked: Int32Array
}

/** Keys, values and running representatives of one layer in typed arrays (spec 6), for backends that keep caches in host memory. */
export class HostPagedCache implements PagedCache {
  readonly backend: object
  readonly options: PagedCacheOptions
  readonly bytes: number
  readonly #held: { release(): void }
  #arrays: PagedArrays | undefined

  /**
   * @param reserve counts the bytes; what it returns gives them back, and calls `free` when it does
   * @throws OutOfMemoryError where `reserve` does, or this process cannot allocate so much
   */
  constructor(backend: object, options: PagedCacheOptions, reserve: (bytes: number, free: () => void) => { release(): void }) {
    this.backend = backend
    this.options = options
    this.bytes = cacheBytes(options)
    this.#held = reserve(this.bytes, () => {
      this.#arrays = undefined
    })
    this.#arrays = this.#allocate()
  }

  /** Undefined once disposed. */
  get arrays(): PagedArrays | undefined {
    return this.#arrays
  }

  dispose(): void {
    if (this.#arrays) this.#held.release()
  }

  #allocate(): PagedArrays {
    try {
      return makeArrays(this.options)
    } catch (error) {
      this.#held.release()
      if (!(error instanceof RangeError)) throw error
      const { pages, pageTokens } = this.options
      throw new OutOfMemoryError(
        `a cache of ${pages} pages of ${pageTokens} tokens needs ${this.bytes} bytes, and this process cannot allocate that; ask for fewer pages.`,
      )
    }
  }
}

/** m / r: tokens of a sub-block (spec 3). */
export function subBlockTokens({ blockSize, representatives }: AttentionSpec): number {
  return blockSize / representatives
}

function makeArrays({ spec, pages, pageTokens }: PagedCacheOptions): PagedArrays {
  const width = spec.kvHeads * spec.headDim
  const tokens = pages * pageTokens
  const subBlocks = tokens / subBlockTokens(spec)
  const make = (length: number) => (spec.dtype === 'f64' ? new Float64Array(length) : new Float32Array(length))
  return {
    k: make(tokens * width),
    v: make(tokens * width),
    keySums: make(subBlocks * width),
    markedSums: make(subBlocks * width),
    reps: make(subBlocks * width),
    marked: new Int32Array(subBlocks),
  }
}

/** k and v in the spec's type; two sums and the representative of each sub-block in the derived one; a count each. */
function cacheBytes({ spec, pages, pageTokens }: PagedCacheOptions): number {
  const width = spec.kvHeads * spec.headDim
  const tokens = pages * pageTokens
  const subBlocks = tokens / subBlockTokens(spec)
  return 2 * tokens * width * bytesPerElement[spec.dtype] + subBlocks * (3 * width * bytesPerElement[derivedDType(spec.dtype)] + 4)
}
