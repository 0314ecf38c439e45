import type { CudaModelBackend } from '@phsa/kernels-cuda'
import { timing } from '../attention/device-timing.js'

const COPIES = 10

/** Bytes a second of a copy within the GPU's memory, read and written. */
export function copyRate(backend: Pick<CudaModelBackend, 'memory' | 'createTimer'>, bytes: number): number {
  const { memory } = backend
  const timer = backend.createTimer()
  try {
    return memory.scope(() => {
      const [source, target] = [memory.alloc([bytes / 4], 'f32'), memory.alloc([bytes / 4], 'f32')]
      for (let run = 0; run <= COPIES; run++) {
        timer.mark()
        memory.copy(source, target)
      }
      const [, ...milliseconds] = timer.read()
      return (2 * bytes * 1e3) / timing(milliseconds).milliseconds
    })
  } finally {
    timer.dispose()
  }
}
