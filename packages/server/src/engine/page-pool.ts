/** How the pages of a pool stand. */
export interface PageCounts {
  readonly total: number
  /** Held by sequences. */
  readonly used: number
  /** Free, with contents that may still be found. */
  readonly cached: number
}

/**
 * Who holds which page of the caches. A page is held by one sequence, or, once it is full and published, read by several: only full pages are shared and
 * a full page is never written again, so that none has ever to be copied on write. Published pages that nobody holds stay findable until their place is
 * needed, the longest unused first. Pure bookkeeping; the tensors are elsewhere.
 */
export class PagePool {
  readonly #total: number
  readonly #holders: Int32Array
  /** Free pages without contents. */
  readonly #empty: number[]
  /** Free pages with contents, the longest unused first. */
  readonly #cached = new Set<number>()
  readonly #pageOf = new Map<string, number>()
  readonly #hashOf = new Map<number, string>()

  constructor(pages: number) {
    this.#total = pages
    this.#holders = new Int32Array(pages)
    this.#empty = Array.from({ length: pages }, (_, index) => pages - 1 - index)
  }

  get counts(): PageCounts {
    return { total: this.#total, used: this.#total - this.available, cached: this.#cached.size }
  }

  /** Pages that can be taken now. */
  get available(): number {
    return this.#empty.length + this.#cached.size
  }

  /** How many sequences hold a page. */
  holders(page: number): number {
    return this.#holders[page]
  }

  /** The published page of a hash, or undefined. `hold` it before anything is taken, or it may be given away. */
  find(hash: string): number | undefined {
    return this.#pageOf.get(hash)
  }

  /** Whether nobody holds a page, so that holding it leaves one less to take. */
  isFree(page: number): boolean {
    return this.#holders[page] === 0
  }

  /** One more holder of a found page. */
  hold(page: number): void {
    if (this.#holders[page]++ === 0) this.#cached.delete(page)
  }

  /** A page to write, held once; what was found in it no longer is. Undefined when all are held. */
  take(): number | undefined {
    const page = this.#empty.pop() ?? this.#forgetOldest()
    if (page !== undefined) this.#holders[page] = 1
    return page
  }

  /** Makes a full page findable. Where another page of the same contents is already, this one stays its holder's alone. */
  publish(page: number, hash: string): void {
    if (this.#pageOf.has(hash) || this.#hashOf.has(page)) return
    this.#pageOf.set(hash, page)
    this.#hashOf.set(page, hash)
  }

  /** One holder less of each page, in the order of a sequence: its last pages are forgotten first, since they are of no use without the first. */
  release(pages: readonly number[]): void {
    for (const page of [...pages].reverse()) {
      if (--this.#holders[page] > 0) continue
      if (this.#hashOf.has(page)) this.#cached.add(page)
      else this.#empty.push(page)
    }
  }

  #forgetOldest(): number | undefined {
    const [page] = this.#cached
    if (page === undefined) return undefined
    this.#cached.delete(page)
    this.#pageOf.delete(this.#hashOf.get(page)!)
    this.#hashOf.delete(page)
    return page
  }
}
