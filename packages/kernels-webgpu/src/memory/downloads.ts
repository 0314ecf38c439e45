import type { GpuDevice } from '../device/gpu-device.js'
import type { BufferSlice } from '../device/kernel-launch.js'

/** Copies to the host: each through a mapped buffer of its own, so that several can be on their way. */
export class Downloads {
  readonly #device: GpuDevice
  readonly #pending = new Set<Promise<unknown>>()

  constructor(device: GpuDevice) {
    this.#device = device
  }

  /** Queues a copy and resolves with what `read` makes of the bytes, once they are there. Rejects with what failed before it. */
  fetch<T>(source: BufferSlice, read: (bytes: ArrayBuffer) => T): Promise<T> {
    const fetched = this.#fetch(source, read)
    this.#pending.add(fetched)
    const done = () => this.#pending.delete(fetched)
    fetched.then(done, done)
    return fetched
  }

  /** Settles when nothing is on its way any more; undefined where nothing is. */
  get running(): Promise<unknown> | undefined {
    return this.#pending.size > 0 ? Promise.allSettled([...this.#pending]) : undefined
  }

  async #fetch<T>(source: BufferSlice, read: (bytes: ArrayBuffer) => T): Promise<T> {
    const { gpu } = this.#device
    // Nothing to copy waits its turn too: what was queued before may have failed.
    const bytes = Math.max(4, source.bytes)
    const staging = gpu.createBuffer({ label: 'download', size: bytes, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST })
    if (source.bytes > 0) this.#device.copyOut(source, staging)
    this.#device.flush()
    try {
      // Asked for now: what fails in later calls is not this one's.
      const checked = this.#device.takeFailure()
      const unmapped = await staging.mapAsync(GPUMapMode.READ).catch((cause: unknown) => ({ cause }))
      // A device that is lost says so a turn later.
      if (unmapped) await Promise.race([this.#device.lost, new Promise((resolve) => setTimeout(resolve, 100))])
      this.#device.checkLost()
      const failure = await checked
      if (failure) throw failure
      if (unmapped) throw unmapped.cause
      return read(staging.getMappedRange())
    } finally {
      staging.destroy()
    }
  }
}
