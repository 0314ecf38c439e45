import { type AttentionSpec, OutOfMemoryError, type PagedCache, type PagedCacheOptions } from '@phsa/core'

/** Elements of a cache. Row `slot` of k and v is token `slot % pageTokens` of page `floor(slot / pageTokens)`. */
export interface CacheArrays {
  /** [pages * pageTokens, Hkv, D] */
  readonly k: Float32Array
  readonly v: Float32Array
  /** [sub-blocks, Hkv, D]: running sums of each sub-block, and its final representative. */
  readonly keySums: Float32Array
  readonly markedSums: Float32Array
  readonly reps: Float32Array
  /** [sub-blocks]: punctuation tokens so far. */
  readonly marked: Int32Array
}

/** Keys, values and running representatives of one layer in typed arrays (spec 6): a step touches few rows, and the engines live in host memory. */
export class HostPagedCache implements PagedCache {
  readonly backend: object
  readonly options: PagedCacheOptions
  readonly bytes: number
  readonly #release: () => void
  #arrays: CacheArrays | undefined

  /** @param reserve counts the bytes; what it returns gives them back and calls its argument once */
  constructor(backend: object, options: PagedCacheOptions, reserve: (bytes: number, free: () => void) => { release(): void }) {
    this.backend = backend
    this.options = options
    this.#arrays = makeArrays(options)
    this.bytes = Object.values<Float32Array | Int32Array>({ ...this.#arrays }).reduce((sum, { byteLength }) => sum + byteLength, 0)
    const held = reserve(this.bytes, () => {
      this.#arrays = undefined
    })
    this.#release = () => held.release()
  }

  /** Undefined once disposed. */
  get arrays(): CacheArrays | undefined {
    return this.#arrays
  }

  dispose(): void {
    this.#release()
  }
}

function makeArrays({ spec, pages, pageTokens }: PagedCacheOptions): CacheArrays {
  const width = spec.kvHeads * spec.headDim
  const tokens = pages * pageTokens
  const subBlocks = tokens / subBlockTokens(spec)
  try {
    return {
      k: new Float32Array(tokens * width),
      v: new Float32Array(tokens * width),
      keySums: new Float32Array(subBlocks * width),
      markedSums: new Float32Array(subBlocks * width),
      reps: new Float32Array(subBlocks * width),
      marked: new Int32Array(subBlocks),
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    const megabytes = Math.ceil((2 * tokens + 3 * subBlocks) * width * 4 * 1e-6)
    throw new OutOfMemoryError(
      `a cache of ${pages} pages of ${pageTokens} tokens needs ${megabytes} MB, and this process cannot allocate that; ask for fewer pages.`,
    )
  }
}

/** m / r */
export function subBlockTokens({ blockSize, representatives }: AttentionSpec): number {
  return blockSize / representatives
}
