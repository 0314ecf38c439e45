import { setTimeout as sleep } from 'node:timers/promises'
import {
  BackendLostError,
  type Collective,
  type CollectiveTicket,
  checkUsable,
  elementCount,
  type Tensor,
  UnsupportedError,
} from '@phsa/core'
import type { Handle } from '../driver/cuda-driver.js'
import type { Device } from '../driver/device.js'
import type { SideStream } from '../driver/side-stream.js'
import type { CudaMemory, Reservation } from '../memory/cuda-memory.js'
import { type Communicator, NcclError, type ReducedArray } from './communicator.js'
import type { Group } from './group.js'

/** ncclDataType_t of the element types that tensors have. */
const TYPES: Readonly<Record<string, number>> = { i32: 2, f32: 7, bf16: 9 }
/** How often NCCL is asked whether something went wrong, milliseconds. */
const WATCH = 500
/** A transfer that other ranks never take part in, though they live, has failed after so long: longer than a rank is busy with a checkpoint, milliseconds. */
const MOST_TRANSFER = 600_000
/** The same once a rank has left the group in good order: what it took part in is over by then. */
const MOST_AFTER_LEAVE = 10_000

/** The parts of a collective over several ranks; it closes communicator and side stream. */
export interface CudaCollectiveParts {
  readonly device: Device
  readonly memory: CudaMemory
  readonly group: Group
  readonly communicator: Communicator
  readonly stream: SideStream
}

/**
 * All-reduce over NCCL, on a queue of its own that overlaps with the device's. Where a rank fails, here or elsewhere, transfers are aborted, so that no
 * kernel waits for ever, and the device is lost with the reason.
 */
export class CudaCollective implements Collective {
  readonly rank: number
  readonly size: number
  readonly #parts: CudaCollectiveParts
  readonly #spareEvents: Handle[] = []
  readonly #watch: NodeJS.Timeout
  /** A mark in the queue of transfers, and since when it has not been reached. */
  readonly #mark: Handle
  #markedSince: number | undefined
  #ended: Promise<void> | undefined

  constructor(parts: CudaCollectiveParts) {
    this.#parts = parts
    this.rank = parts.group.place.rank
    this.size = parts.group.place.size
    this.#mark = parts.device.createEvent()
    this.#watch = setInterval(() => this.#look(), WATCH)
    this.#watch.unref()
    parts.group.failed.then((reason) => this.#lose(reason))
    parts.device.beforeBlocking = () => this.#settle()
  }

  allReduce(tensors: readonly Tensor[]): CollectiveTicket {
    const { device, memory, communicator, stream, group } = this.#parts
    memory.checkOpen()
    device.capture.checkNotRecording('allReduce')
    const { whoLeft } = group
    if (whoLeft !== undefined) throw this.#fail(`rank ${whoLeft} of ${this.size} has left the group, so nothing can be summed over it`)
    const arrays = tensors.map((tensor) => reducedArray(memory, tensor)).filter(({ count }) => count > 0)
    if (arrays.length === 0) return { wait: () => {} }
    const event = this.#spareEvents.pop() ?? device.createEvent()
    const held = tensors.map((tensor) => memory.hold(tensor))
    stream.followMain(event)
    try {
      communicator.allReduce(arrays, stream.handle)
    } catch (error) {
      throw this.#fail(error instanceof Error ? error.message : String(error))
    }
    stream.mark(event)
    return this.#ticket(event, held)
  }

  /** The first transfers open NCCL's connections, which takes all ranks: this thread goes on meanwhile. */
  async firstAllReduce(elements: number): Promise<void> {
    const { device, memory, communicator, stream, group } = this.#parts
    const { address, release } = memory.reserve('the first transfer of a group', elements * Float32Array.BYTES_PER_ELEMENT)
    const array = { address, count: elements, type: TYPES.f32 }
    const { joinSeconds } = group.place
    const deadline = performance.now() + 1000 * joinSeconds
    try {
      await device.withStream(() => communicator.firstAllReduce([array], stream.handle, group.failed))
      while (!stream.isIdle()) {
        if (performance.now() > deadline) throw new NcclError(`the first transfer did not end within ${joinSeconds} s`)
        await sleep(1)
      }
    } finally {
      release()
    }
  }

  /** Leaves the group; nothing is queued afterwards. @returns when the communicator has ended */
  close(): Promise<void> {
    this.#ended ??= this.#close()
    return this.#ended
  }

  #ticket(event: Handle, held: readonly Reservation[]): CollectiveTicket {
    let isWaited = false
    return {
      wait: () => {
        if (isWaited) return
        this.#parts.memory.checkOpen()
        this.#parts.device.capture.checkNotRecording('waiting for an allReduce')
        isWaited = true
        this.#parts.stream.leadMain(event)
        for (const reservation of held) reservation.release()
        this.#spareEvents.push(event)
      },
    }
  }

  async #close(): Promise<void> {
    const { device, communicator, stream, group } = this.#parts
    clearInterval(this.#watch)
    device.beforeBlocking = () => {}
    group.leave()
    if (!device.isLost) {
      for (const event of [this.#mark, ...this.#spareEvents.splice(0)]) device.destroyEvent(event)
      stream.destroy()
    }
    await communicator.close()
  }

  #look(): void {
    const { communicator, device, stream, group } = this.#parts
    const failure = communicator.failure()
    if (failure !== undefined) {
      this.#fail(failure)
      return
    }
    if (device.isLost) return
    if (this.#markedSince === undefined) {
      if (stream.isIdle()) return
      stream.mark(this.#mark)
      this.#markedSince = performance.now()
    } else if (device.isReached(this.#mark)) {
      this.#markedSince = undefined
    } else if (group.whoLeft !== undefined && performance.now() - this.#markedSince > MOST_AFTER_LEAVE) {
      this.#fail(`rank ${group.whoLeft} of ${this.size} has left the group, and an allReduce waits for it`)
    } else if (performance.now() - this.#markedSince > MOST_TRANSFER) {
      this.#fail(`an allReduce did not end within ${MOST_TRANSFER / 1000} s; every rank must make the same calls`)
    }
  }

  /** A call that blocks this thread would wait for other ranks too, and nothing would be heard of them: the time for that is limited. */
  #settle(): void {
    const { device, stream, group } = this.#parts
    const pause = new Int32Array(new SharedArrayBuffer(4))
    const { timeoutSeconds } = group.place
    const deadline = performance.now() + 1000 * timeoutSeconds
    while (!device.isLost && !stream.isIdle()) {
      this.#look()
      if (performance.now() > deadline) throw this.#fail(`an allReduce did not end within ${timeoutSeconds} s`)
      Atomics.wait(pause, 0, 0, 0.05)
    }
    device.checkOpen()
  }

  /** This rank fails: all others are told. */
  #fail(what: string): BackendLostError {
    const reason = `rank ${this.rank} of ${this.size}: ${what}`
    this.#parts.group.fail(reason)
    return this.#lose(reason)
  }

  #lose(reason: string): BackendLostError {
    const { device, communicator } = this.#parts
    clearInterval(this.#watch)
    // Without it kernels of other ranks' data wait on the GPU for ever.
    communicator.abort().catch((error: unknown) => {
      process.emitWarning(`The group's communicator did not end: ${error instanceof Error ? error.message : String(error)}`, 'PhsaWarning')
    })
    return device.lose(
      new BackendLostError(
        `the group has failed: ${reason}. Dispose the backend; start all ranks again, from a checkpoint where there is one.`,
      ),
    )
  }
}

function reducedArray(memory: CudaMemory, tensor: Tensor): ReducedArray {
  checkUsable(memory.owner, 'tensor', tensor)
  const type = TYPES[tensor.dtype]
  if (type === undefined) throw new UnsupportedError('dtype', `dtype is ${tensor.dtype}; allReduce sums ${Object.keys(TYPES).join(', ')}.`)
  return { address: memory.address(tensor), count: elementCount(tensor.shape), type }
}

/** A group of one: every sum is there already. */
export function soloCollective(memory: CudaMemory): Collective {
  return {
    rank: 0,
    size: 1,
    allReduce(tensors) {
      const held = tensors.map((tensor) => memory.hold(tensor))
      return {
        wait: () => {
          for (const reservation of held.splice(0)) reservation.release()
        },
      }
    },
  }
}
