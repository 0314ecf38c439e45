import { setTimeout as sleep } from 'node:timers/promises'
import { PhsaError } from '@phsa/core'
import type { Handle } from '../driver/cuda-driver.js'
import type { Nccl } from '../driver/nccl.js'
import { NcclResult, nonBlockingConfig } from '../driver/nccl-config.js'
import type { GroupPlace } from './group-place.js'

/** One array of an all-reduce. */
export interface ReducedArray {
  readonly address: Handle
  readonly count: number
  /** ncclDataType_t */
  readonly type: number
}

const SUM = 0
/** Looks without a pause before this thread sleeps between them. */
const EAGER_LOOKS = 1000
/** Milliseconds. */
const NAP = 0.05
/** The time that a communicator has to end in good order, milliseconds. */
const FAREWELL = 5000

/** This rank's end of an NCCL communicator. No call of NCCL waits for other ranks: what it has begun is looked after, for as long as the group allows. */
export class Communicator {
  readonly #nccl: Nccl
  /** NCCL keeps its address and writes to it again when its own thread has connected, or has not. */
  readonly #out: BigUint64Array
  readonly #place: GroupPlace
  #ending: Promise<void> | undefined

  private constructor(nccl: Nccl, out: BigUint64Array, place: GroupPlace) {
    this.#nccl = nccl
    this.#out = out
    this.#place = place
  }

  get #handle(): Handle {
    return this.#out[0]
  }

  /**
   * Connects all ranks. The GPU's context is current on this thread.
   * @param failed settles where the group has failed meanwhile
   * @throws Error with NCCL's own words
   */
  static async connect(nccl: Nccl, id: Uint8Array, place: GroupPlace, failed: Promise<string>): Promise<Communicator> {
    const handle = new BigUint64Array(1)
    const result = nccl.ncclCommInitRankConfig(handle, place.size, id, place.rank, nonBlockingConfig())
    const communicator = new Communicator(nccl, handle, place)
    try {
      await communicator.#begun('ncclCommInitRankConfig', result, failed)
      return communicator
    } catch (error) {
      if (handle[0] !== 0n) await communicator.abort()
      throw error
    }
  }

  /** Queues a sum over all ranks, in place, of all arrays as one operation. @throws Error with NCCL's own words */
  allReduce(arrays: readonly ReducedArray[], stream: Handle): void {
    this.#settle('ncclAllReduce', this.#queue(arrays, stream))
  }

  /** The same where other ranks may be late: this thread goes on meanwhile. */
  async firstAllReduce(arrays: readonly ReducedArray[], stream: Handle, failed: Promise<string>): Promise<void> {
    await this.#begun('ncclAllReduce', this.#queue(arrays, stream), failed)
  }

  /** What has gone wrong by itself, in words. */
  failure(): string | undefined {
    if (this.#ending) return undefined
    const result = this.#state()
    return result === NcclResult.success || result === NcclResult.inProgress ? undefined : this.#describe('a transfer', result)
  }

  /** Ends in good order, or by force where that takes too long. Nothing is under way on this rank. Resolves when it has ended. */
  close(): Promise<void> {
    this.#ending ??= this.#finalize()
    return this.#ending
  }

  /** Ends everything under way, kernels on the GPU too. Resolves when it has ended. */
  abort(): Promise<void> {
    this.#ending ??= this.#nccl.ncclCommAbort(this.#handle).then(() => {})
    return this.#ending
  }

  async #finalize(): Promise<void> {
    let result = this.#nccl.ncclCommFinalize(this.#handle)
    const deadline = performance.now() + FAREWELL
    while (result === NcclResult.inProgress && performance.now() < deadline) {
      await sleep(1)
      result = this.#state()
    }
    await (result === NcclResult.success ? this.#nccl.ncclCommDestroy(this.#handle) : this.#nccl.ncclCommAbort(this.#handle))
  }

  #queue(arrays: readonly ReducedArray[], stream: Handle): number {
    const nccl = this.#nccl
    let result = nccl.ncclGroupStart()
    for (const { address, count, type } of arrays) {
      if (result !== NcclResult.success && result !== NcclResult.inProgress) break
      result = nccl.ncclAllReduce(address, address, count, type, SUM, this.#handle, stream)
    }
    // The group is ended after a failure too, whose result counts.
    const ended = nccl.ncclGroupEnd()
    return result === NcclResult.success || result === NcclResult.inProgress ? ended : result
  }

  #state(): number {
    const state = new Int32Array(1)
    const result = this.#nccl.ncclCommGetAsyncError(this.#handle, state)
    return result === NcclResult.success ? state[0] : result
  }

  #settle(call: string, begun: number): void {
    const pause = new Int32Array(new SharedArrayBuffer(4))
    const deadline = performance.now() + 1000 * this.#place.timeoutSeconds
    let result = begun
    for (let looks = 0; result === NcclResult.inProgress; looks++) {
      if (performance.now() > deadline) throw new NcclError(`${call}: other ranks did not take part within ${this.#place.timeoutSeconds} s`)
      if (looks > EAGER_LOOKS) Atomics.wait(pause, 0, 0, NAP)
      result = this.#state()
    }
    if (result !== NcclResult.success) throw new NcclError(this.#describe(call, result))
  }

  async #begun(call: string, begun: number, failed: Promise<string>): Promise<void> {
    let reason: string | undefined
    failed.then((text) => {
      reason = text
    })
    const { joinSeconds } = this.#place
    const deadline = performance.now() + 1000 * joinSeconds
    let result = begun
    while (result === NcclResult.inProgress) {
      await sleep(1)
      if (reason !== undefined) throw new NcclError(reason)
      if (performance.now() > deadline) throw new NcclError(`${call}: not all ranks were connected within ${joinSeconds} s`)
      result = this.#state()
    }
    if (result !== NcclResult.success) throw new NcclError(this.#describe(call, result))
  }

  #describe(call: string, result: number): string {
    const detail = this.#nccl.ncclGetLastError().trim()
    return `${call}: ${this.#nccl.ncclGetErrorString(result)}${detail ? ` (${detail})` : ''}`
  }
}

/** NCCL refused something, or other ranks did. */
export class NcclError extends PhsaError {
  constructor(message: string) {
    super('nccl', message)
  }
}
