import type { ModelBackend } from '../../contract/model-backend.js'
import type { DType } from '../../contract/tensor.js'
import { Probe } from '../probe.js'
import { booleanCheck, type TensorCheck } from '../tensor-check.js'

/** A gradient that is not finite makes the clip scale 0. */
export async function checkGradientNormNotFinite(backend: ModelBackend, dtype: DType): Promise<TensorCheck[]> {
  const probe = new Probe(backend)
  const checks: TensorCheck[] = []
  try {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const sound = probe.input('sound', Float32Array.of(1, 2, 3), [3], dtype)
      const broken = probe.input('broken', Float32Array.of(1, value), [2], dtype)
      const { norm } = await probe.call(() => ({ norm: backend.ops.gradientNorm([sound, broken], 1) }))
      checks.push(booleanCheck(`norm with ${value}`, !Number.isFinite(norm[0]), `norm is ${norm[0]}`))
      checks.push(booleanCheck(`scale with ${value}`, norm[1] === 0, `scale is ${norm[1]}`))
    }
    return [...checks, ...(await probe.canaries())]
  } finally {
    probe.dispose()
  }
}
