import type { ModelBackend, Tensor } from '@phsa/core'

/** Mean of scalars [1] that stays on the device: a sum, then a product with the 1 x 1 matrix 1/n. Undefined for none. */
export function meanOf(backend: ModelBackend, scalars: readonly Tensor[]): Tensor | undefined {
  const [first, ...rest] = scalars
  if (!first || rest.length === 0) return first
  const { memory, ops } = backend
  return memory.scope(() => {
    const sum = rest.reduce((total, scalar) => ops.add(total, scalar), first)
    const share = first.dtype === 'f64' ? Float64Array.of(1 / scalars.length) : Float32Array.of(1 / scalars.length)
    return memory.reshape(ops.linear(memory.reshape(sum, [1, 1]), memory.upload(share, [1, 1])), [1])
  })
}
