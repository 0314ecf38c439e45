import type { ModelBackend } from '../../contract/model-backend.js'
import type { DType } from '../../contract/tensor.js'
import { Probe } from '../probe.js'
import { relativeCheck } from '../relative-error.js'
import { booleanCheck, type TensorCheck } from '../tensor-check.js'
import { tolerancesFor } from '../tolerances.js'

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

/** The norm and the clip scale by themselves, in f32: also where the squares overflow, and of zeros, which need no clipping. */
export async function checkGradientNormSizes(backend: ModelBackend): Promise<TensorCheck[]> {
  const probe = new Probe(backend)
  const { relative } = tolerancesFor('f32')
  const checks: TensorCheck[] = []
  try {
    for (const value of [1e25, 3, 0]) {
      const first = probe.input('first', new Float32Array(80).fill(value), [10, 8], 'f32')
      const second = probe.input('second', new Float32Array(41).fill(-value), [41], 'f32')
      const { norm } = await probe.call(() => ({ norm: backend.ops.gradientNorm([first, second], 2) }))
      const expected = Math.fround(value) * 11
      // One by one: beside such a norm no error of the scale would be seen.
      checks.push(relativeCheck(`norm of ${value}`, norm.slice(0, 1), Float64Array.of(expected), relative))
      checks.push(relativeCheck(`scale of ${value}`, norm.slice(1), Float64Array.of(value === 0 ? 1 : 2 / expected), relative))
    }
    return [...checks, ...(await probe.canaries())]
  } finally {
    probe.dispose()
  }
}
