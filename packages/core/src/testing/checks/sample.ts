import type { ModelBackend } from '../../contract/model-backend.js'
import type { DType } from '../../contract/tensor.js'
import { Probe } from '../probe.js'
import { rounded } from '../rounded.js'
import type { SampleDraw } from '../sample-draws.js'
import { identityCheck, type TensorCheck } from '../tensor-check.js'

/** One call with all draws as rows, which have the same width. */
export async function checkSample(backend: ModelBackend, draws: readonly SampleDraw[], dtype: DType): Promise<TensorCheck[]> {
  const probe = new Probe(backend)
  try {
    const logits = rounded(Float32Array.from(draws.flatMap(({ logits }) => Array.from(logits))), dtype)
    const control = Float32Array.from(
      draws.flatMap(({ temperature, topK = 0, topP = 1, minP = 0, uniform }) => [temperature, topK, topP, minP, uniform]),
    )
    const inputs = [
      probe.input('logits', logits, [draws.length, draws[0].logits.length], dtype),
      probe.input('control', control, [draws.length, 5], 'f32'),
    ] as const
    const { ids } = await probe.call(() => ({ ids: backend.ops.sample(...inputs) }))
    const checks = draws.map(({ what, expected }, index) => identityCheck(what, ids.slice(index, index + 1), Int32Array.of(expected)))
    return [...checks, ...(await probe.canaries())]
  } finally {
    probe.dispose()
  }
}
