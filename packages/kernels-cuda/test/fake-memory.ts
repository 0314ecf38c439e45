/** On the GPU, or page-locked on the host. */
export type MemoryKind = 'device' | 'host'

interface Block {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly kind: MemoryKind
}

/** The memory of a fake machine: what is taken, where it lies, and what it holds. */
export class FakeMemory {
  /** Largest number of device bytes that were taken at once. */
  peakDeviceBytes = 0
  readonly #blocks = new Map<bigint, Block>()
  /** Far from 0, where nothing lies. */
  #next = 0x7000_0000_0000n

  /** Bytes of a kind that are taken. */
  taken(kind: MemoryKind): number {
    return [...this.#blocks.values()].reduce((sum, block) => sum + (block.kind === kind ? block.bytes.length : 0), 0)
  }

  /** An address for something that is no memory, where nothing else lies. */
  takeHandle(): bigint {
    this.#next += 512n
    return this.#next
  }

  /** The address of new memory. */
  take(kind: MemoryKind, size: number): bigint {
    const address = this.#next
    this.#next += BigInt(Math.ceil((size + 1) / 512) * 512)
    // Not zero: recycled memory must not pass for fresh by luck.
    this.#blocks.set(address, { bytes: new Uint8Array(size).fill(0xab), kind })
    this.peakDeviceBytes = Math.max(this.peakDeviceBytes, this.taken('device'))
    return address
  }

  free(call: string, address: bigint, kind: MemoryKind): void {
    if (this.#blocks.get(address)?.kind !== kind) throw new Error(`${call} of memory that is not there`)
    this.#blocks.delete(address)
  }

  /** The memory from an address on, which may lie within a block. */
  at(address: bigint, length: number): Uint8Array {
    for (const [start, { bytes }] of this.#blocks) {
      const offset = Number(address - start)
      if (offset >= 0 && offset + length <= bytes.length) return bytes.subarray(offset, offset + length)
    }
    throw new Error(`no memory at ${address.toString(16)}, ${length} bytes`)
  }

  /** A block of host memory. */
  view(address: bigint, bytes: number): ArrayBuffer {
    const block = this.#blocks.get(address)
    if (block?.kind !== 'host' || bytes > block.bytes.length) throw new Error('a view of memory that is not there')
    return block.bytes.buffer
  }
}
