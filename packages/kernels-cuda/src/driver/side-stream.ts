import type { CudaDriver, Handle } from './cuda-driver.js'
import { Result } from './result-codes.js'

/** The queues that are ordered, and what its device does around each call. */
export interface SideStreamOptions {
  readonly side: Handle
  readonly main: Handle
  /** Makes the context current. */
  readonly enter: () => void
  /** Throws for a result that is no success. */
  readonly check: (call: string, result: number) => void
}

/** A second queue of a device, ordered with its own by events. */
export class SideStream {
  readonly handle: Handle
  readonly #driver: CudaDriver
  readonly #options: SideStreamOptions

  constructor(driver: CudaDriver, options: SideStreamOptions) {
    this.handle = options.side
    this.#driver = driver
    this.#options = options
  }

  /** What is queued here from now on waits for everything that is queued on the device's own queue. */
  followMain(event: Handle): void {
    this.#options.enter()
    this.#options.check('cuEventRecord', this.#driver.cuEventRecord(event, this.#options.main))
    this.#options.check('cuStreamWaitEvent', this.#driver.cuStreamWaitEvent(this.handle, event, 0))
  }

  /** Queues the mark here. */
  mark(event: Handle): void {
    this.#options.enter()
    this.#options.check('cuEventRecord', this.#driver.cuEventRecord(event, this.handle))
  }

  /** What is queued on the device's own queue from now on waits for the mark. */
  leadMain(event: Handle): void {
    this.#options.enter()
    this.#options.check('cuStreamWaitEvent', this.#driver.cuStreamWaitEvent(this.#options.main, event, 0))
  }

  /** Whether everything queued here is done. */
  isIdle(): boolean {
    this.#options.enter()
    const result = this.#driver.cuStreamQuery(this.handle)
    if (result === Result.notReady) return false
    this.#options.check('cuStreamQuery', result)
    return true
  }

  destroy(): void {
    this.#options.enter()
    this.#options.check('cuStreamDestroy', this.#driver.cuStreamDestroy(this.handle))
  }
}
