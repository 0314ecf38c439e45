/** Memory that is taken. */
export interface Allocation {
  /** 0n for no bytes. */
  readonly address: bigint
  /** As given out: at least what was asked for. */
  readonly bytes: number
}

/** Memory that nobody uses, by size. */
export class FreeLists {
  readonly #lists = new Map<number, Allocation[]>()
  #bytes = 0

  get bytes(): number {
    return this.#bytes
  }

  /** A piece of exactly this size, where there is one. */
  take(size: number): Allocation | undefined {
    const found = this.#lists.get(size)?.pop()
    if (found) this.#bytes -= size
    return found
  }

  put(allocation: Allocation): void {
    this.#bytes += allocation.bytes
    const list = this.#lists.get(allocation.bytes)
    if (list) list.push(allocation)
    else this.#lists.set(allocation.bytes, [allocation])
  }

  /** Takes all of it. */
  takeAll(): Allocation[] {
    const all = [...this.#lists.values()].flat()
    this.#lists.clear()
    this.#bytes = 0
    return all
  }
}
