/** Something with an address in the device's memory. */
export interface DevicePointer {
  readonly address: bigint
}

const INITIAL_BYTES = 256

/** Packs a kernel's parameter struct as the compiler lays it out: little-endian, each member at a multiple of its size. */
export class ParamWriter {
  #view = new DataView(new ArrayBuffer(INITIAL_BYTES))
  #length = 0
  #alignment = 1

  /** 8 bytes; 0n is null. */
  pointer(pointer: bigint | DevicePointer): this {
    const at = this.#take(8, 8)
    this.#view.setBigUint64(at, typeof pointer === 'bigint' ? pointer : pointer.address, true)
    return this
  }

  i64(value: number | bigint): this {
    const at = this.#take(8, 8)
    this.#view.setBigInt64(at, BigInt(value), true)
    return this
  }

  i32(value: number): this {
    const at = this.#take(4, 4)
    this.#view.setInt32(at, value, true)
    return this
  }

  f32(value: number): this {
    const at = this.#take(4, 4)
    this.#view.setFloat32(at, value, true)
    return this
  }

  /** The struct, as long as `sizeof` says: a multiple of its widest member. */
  end(): Uint8Array {
    this.#take(0, this.#alignment)
    return new Uint8Array(this.#view.buffer, 0, this.#length)
  }

  #take(bytes: number, alignment: number): number {
    const at = Math.ceil(this.#length / alignment) * alignment
    this.#alignment = Math.max(this.#alignment, alignment)
    this.#length = at + bytes
    if (this.#length > this.#view.byteLength) this.#grow()
    return at
  }

  #grow(): void {
    const larger = new Uint8Array(2 * this.#length)
    larger.set(new Uint8Array(this.#view.buffer))
    this.#view = new DataView(larger.buffer)
  }
}
