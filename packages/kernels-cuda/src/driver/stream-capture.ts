import { CaptureError } from '@phsa/core'
import type { CudaDriver, Handle } from './cuda-driver.js'
import { failureText } from './cuda-error.js'
import { isSticky } from './result-codes.js'

/** The queue that is recorded, and what its device does around each call. */
export interface StreamCaptureOptions {
  readonly stream: Handle
  /** Makes the context current. */
  readonly enter: () => void
  /** Throws for a result that is no success. */
  readonly check: (call: string, result: number) => void
  /** Something other than a kernel comes into the queue. */
  readonly interrupt: () => void
  /** Makes the device lost, for what the text says. */
  readonly lose: (text: string) => void
  readonly isLost: () => boolean
}

/** CU_STREAM_CAPTURE_MODE_RELAXED: while a step is recorded it may take memory, and other threads may wait for events. */
const RELAXED = 2

/** Records what is queued on a device's own queue as CUDA graphs, and runs them. */
export class StreamCapture {
  readonly #driver: CudaDriver
  readonly #options: StreamCaptureOptions
  /** Recorded steps that are not destroyed. */
  readonly #graphs = new Set<Handle>()
  #recording = false

  constructor(driver: CudaDriver, options: StreamCaptureOptions) {
    this.#driver = driver
    this.#options = options
  }

  /** From here on what is queued is recorded, until `end` or `cancel`. */
  begin(): void {
    this.#options.enter()
    this.#options.check('cuStreamBeginCapture', this.#driver.cuStreamBeginCapture(this.#options.stream, RELAXED))
    this.#options.interrupt()
    this.#recording = true
  }

  /** Ends the recording. @returns what `launch` runs; the caller destroys it */
  end(): Handle {
    this.#options.enter()
    const [graph, executable] = [new BigUint64Array(1), new BigUint64Array(1)]
    this.#recording = false
    this.#options.check('cuStreamEndCapture', this.#driver.cuStreamEndCapture(this.#options.stream, graph))
    const result = this.#driver.cuGraphInstantiate(executable, graph[0], 0n)
    this.#options.check('cuGraphDestroy', this.#driver.cuGraphDestroy(graph[0]))
    this.#options.check('cuGraphInstantiate', result)
    this.#graphs.add(executable[0])
    return executable[0]
  }

  /** Ends the recording and drops it; after an error inside, which is the one to report. */
  cancel(): void {
    const graph = new BigUint64Array(1)
    this.#recording = false
    const result = this.#driver.cuStreamEndCapture(this.#options.stream, graph)
    if (isSticky(result)) this.#options.lose(failureText(this.#driver, 'cuStreamEndCapture', result))
    else if (graph[0] !== 0n) this.#options.check('cuGraphDestroy', this.#driver.cuGraphDestroy(graph[0]))
  }

  /** @throws CaptureError while a step is recorded */
  checkNotRecording(what: string): void {
    if (!this.#recording) return
    throw new CaptureError(
      `${what} was asked for inside of a step that is being recorded; it belongs before or after. What changes between replays is written, outside, into tensors that the step reads.`,
    )
  }

  /** Queues a recorded step. */
  launch(executable: Handle): void {
    this.checkNotRecording('the replay of a recorded step')
    this.#options.enter()
    this.#options.interrupt()
    this.#options.check('cuGraphLaunch', this.#driver.cuGraphLaunch(executable, this.#options.stream))
  }

  /** Destroying twice is allowed, and after the device was closed or lost, which has done it. */
  destroy(executable: Handle): void {
    if (!this.#graphs.delete(executable) || this.#options.isLost()) return
    this.#options.enter()
    this.#options.check('cuGraphExecDestroy', this.#driver.cuGraphExecDestroy(executable))
  }

  /** Destroys all recorded steps. */
  destroyAll(): void {
    for (const executable of [...this.#graphs]) this.destroy(executable)
  }
}
