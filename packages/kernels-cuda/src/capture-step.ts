import { setImmediate as turn } from 'node:timers/promises'
import { type CapturedStep, DisposedError } from '@phsa/core'
import type { Device } from './driver/device.js'
import type { CudaMemory, Recording } from './memory/cuda-memory.js'

/**
 * Records what `step` queues as a CUDA graph, as `ModelBackend.capture` says. All kernels are loaded before: loading may wait for the GPU, which a
 * stream that records does not.
 */
export async function captureStep<T>(device: Device, memory: CudaMemory, step: () => T): Promise<CapturedStep<T>> {
  memory.checkOpen()
  device.capture.checkNotRecording('recording another step')
  // At least one turn: in the caller's own the step would fall into a scope that is open there.
  do await turn()
  while (device.loadNextKernels())
  memory.checkOpen()
  device.capture.begin()
  let recording: Recording<T>
  try {
    recording = memory.record(step)
  } catch (error) {
    device.capture.cancel()
    throw error
  }
  try {
    return recordedStep(device, memory, recording)
  } catch (error) {
    recording.release()
    throw error
  }
}

function recordedStep<T>(device: Device, memory: CudaMemory, { result, release }: Recording<T>): CapturedStep<T> {
  const graph = device.capture.end()
  let disposed = false
  return {
    result,
    replay() {
      memory.checkOpen()
      if (disposed) throw new DisposedError('the recorded step is disposed; dispose it after its last replay.')
      device.capture.launch(graph)
    },
    dispose() {
      if (disposed) return
      disposed = true
      device.capture.destroy(graph)
      release()
    },
  }
}
