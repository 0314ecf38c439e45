import type { DType } from './contract/tensor.js'

/** Type of what is derived from activations of a type (representatives, lse, masses, losses): f32 whatever it is, f64 for f64 (`AttentionSpec.dtype`). */
export function derivedDType(dtype: DType): 'f32' | 'f64' {
  return dtype === 'f64' ? 'f64' : 'f32'
}
