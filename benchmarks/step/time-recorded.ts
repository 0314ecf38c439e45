import type { CudaModelBackend } from '@phsa/kernels-cuda'
import type { Timing } from '../attention/device-result.js'
import { timing, WARM_UP } from '../attention/device-timing.js'

const RUNS = 30

/** Milliseconds of the GPU for one replay of what `run` queues. */
export async function timeRecorded(backend: CudaModelBackend, run: () => unknown): Promise<Timing> {
  const { memory } = backend
  const queue = () => {
    memory.scope(() => void run())
  }
  queue()
  const recorded = await backend.capture(queue)
  const timer = backend.createTimer()
  try {
    for (let index = 0; index < WARM_UP; index++) recorded.replay()
    timer.mark()
    for (let index = 0; index < RUNS; index++) {
      recorded.replay()
      timer.mark()
    }
    return timing([...timer.read()])
  } finally {
    timer.dispose()
    recorded.dispose()
  }
}
