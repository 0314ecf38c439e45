import { type CapturedStep, CaptureError, DisposedError } from '@phsa/core'
import type { SequenceNumbers } from './attention/sequence-numbers.js'
import type { GpuDevice } from './device/gpu-device.js'
import type { Recording, WebgpuMemory } from './memory/webgpu-memory.js'

/** Records what `step` queues as a list of commands, as `ModelBackend.capture` says: a replay encodes them again, without checks or bind groups to make. */
export async function captureStep<T>(
  device: GpuDevice,
  memory: WebgpuMemory,
  numbers: SequenceNumbers,
  step: () => T,
): Promise<CapturedStep<T>> {
  memory.checkOpen()
  if (device.recording) throw new CaptureError('recording another step while one is recorded; end the first.')
  // In the caller's own turn the step would fall into a scope that is open there.
  await Promise.resolve()
  memory.checkOpen()
  numbers.forget()
  device.beginRecording()
  let recording: Recording<T>
  let recorded: ReturnType<GpuDevice['endRecording']>
  try {
    recording = memory.record(step)
  } finally {
    recorded = device.endRecording()
    numbers.forget()
  }
  const { result, release } = recording
  let disposed = false
  return {
    result,
    replay() {
      memory.checkOpen()
      if (disposed) throw new DisposedError('the recorded step is disposed; dispose it after its last replay.')
      // The outer step would name memory that goes with the inner one.
      if (device.recording) throw new CaptureError('a replay while a step is recorded; call the recorded function itself.')
      device.replay(recorded)
    },
    dispose() {
      if (disposed) return
      disposed = true
      release()
    },
  }
}
