import type { Nccl } from '../../src/driver/nccl.js'
import { NcclResult } from '../../src/driver/nccl-config.js'

/** What the ranks of one process have begun, by the group's id. */
export type FakeWire = Map<string, { readonly size: number; readonly waiting: Map<number, Work[]> }>

/** An all-reduce of one rank that waits for the others. */
interface Work {
  readonly arrays: readonly { readonly bytes: Uint8Array; readonly type: number }[]
}

/** ncclDataType_t f32. */
const F32 = 7

/**
 * NCCL in the memory of JavaScript: ranks of one process sum f32 arrays when all of them have asked for it, at once. Without a wire a rank is alone in
 * its process, and its sums are what it has. Calls begin and are done at the next look, as with a communicator that does not block.
 */
export class FakeNccl implements Nccl {
  readonly calls: string[] = []
  /** What `ncclCommGetAsyncError` says after the next looks. */
  readonly states: number[] = []
  /** Device memory at an address. */
  readonly #memory: (address: bigint, bytes: number) => Uint8Array
  readonly #wire: FakeWire | undefined
  #id = ''
  #rank = 0
  #grouped: { bytes: Uint8Array; type: number }[] = []

  constructor(memory: (address: bigint, bytes: number) => Uint8Array, wire?: FakeWire) {
    this.#memory = memory
    this.#wire = wire
  }

  ncclGetVersion(version: Int32Array): number {
    version[0] = 22_800
    return NcclResult.success
  }

  ncclGetUniqueId(id: Uint8Array): number {
    id.set(new TextEncoder().encode('fake'))
    return this.#called('ncclGetUniqueId')
  }

  ncclCommInitRankConfig(communicator: BigUint64Array, size: number, id: Uint8Array, rank: number): number {
    communicator[0] = 7n
    this.#id = id.join()
    this.#rank = rank
    if (this.#wire && !this.#wire.has(this.#id)) this.#wire.set(this.#id, { size, waiting: new Map() })
    this.#called('ncclCommInitRankConfig')
    return NcclResult.inProgress
  }

  ncclCommGetAsyncError(_: bigint, result: Int32Array): number {
    result[0] = this.states.shift() ?? NcclResult.success
    return NcclResult.success
  }

  ncclCommFinalize(): number {
    this.#called('ncclCommFinalize')
    return NcclResult.inProgress
  }

  async ncclCommDestroy(): Promise<number> {
    return this.#called('ncclCommDestroy')
  }

  async ncclCommAbort(): Promise<number> {
    return this.#called('ncclCommAbort')
  }

  ncclGroupStart(): number {
    return this.#called('ncclGroupStart')
  }

  ncclGroupEnd(): number {
    const arrays = this.#grouped.splice(0)
    const group = this.#wire?.get(this.#id)
    if (group && arrays.length > 0) {
      const mine = group.waiting.get(this.#rank) ?? []
      group.waiting.set(this.#rank, [...mine, { arrays }])
      const all = [...group.waiting.values()]
      if (all.length === group.size && all.every((works) => works.length > 0)) sum(all.map((works) => works.shift()!))
    }
    this.#called('ncclGroupEnd')
    return NcclResult.inProgress
  }

  ncclAllReduce(source: bigint, target: bigint, count: number, type: number): number {
    if (source !== target) throw new Error('sums are made in place')
    this.#grouped.push({ bytes: this.#memory(source, count * (type === F32 ? 4 : 2)), type })
    return this.#called('ncclAllReduce')
  }

  ncclGetErrorString(result: number): string {
    return `error ${result}`
  }

  ncclGetLastError(): string {
    return 'what happened'
  }

  #called(call: string): number {
    this.calls.push(call)
    return NcclResult.success
  }
}

function sum(works: readonly Work[]): void {
  for (const index of works[0].arrays.keys()) {
    const parts = works.map(({ arrays }) => arrays[index])
    if (parts.some(({ type, bytes }) => type !== F32 || bytes.length !== parts[0].bytes.length))
      throw new Error('ranks sum different arrays')
    const values = parts.map(({ bytes }) => new Float32Array(bytes.slice().buffer))
    const total = values[0].map((_, element) => values.reduce((all, each) => all + each[element], 0))
    for (const { bytes } of parts) bytes.set(new Uint8Array(total.buffer))
  }
}
