import type { AttentionBackend } from '../contract/attention-backend.js'
import type { CapturedStep, ModelBackend } from '../contract/model-backend.js'
import type { HostArray, Tensor } from '../contract/tensor.js'
import { evaluate } from './probe.js'

/** A backend that records steps. */
export type CaptureBackend = AttentionBackend & Required<Pick<ModelBackend, 'capture'>>

/** Whether a backend records steps. */
export function canCapture(backend: AttentionBackend): backend is CaptureBackend {
  return 'capture' in backend && backend.capture !== undefined
}

/** Runs a step once, records it, hands the recording to `use` and disposes it. */
export async function withCapture<T extends Record<string, Tensor>, R>(
  backend: CaptureBackend,
  step: () => T,
  use: (captured: CapturedStep<T>) => Promise<R>,
): Promise<R> {
  await evaluate(backend, step)
  const captured = await backend.capture(step)
  try {
    return await use(captured)
  } finally {
    captured.dispose()
  }
}

/** Queues a replay and downloads the result as it stands then. */
export async function replayed<K extends string>(
  backend: CaptureBackend,
  captured: CapturedStep<Record<K, Tensor>>,
): Promise<Record<K, HostArray>> {
  captured.replay()
  const names = Object.keys(captured.result) as K[]
  const values = await Promise.all(names.map((name) => backend.memory.download(captured.result[name])))
  return Object.fromEntries(names.map((name, index) => [name, values[index]])) as Record<K, HostArray>
}
