import type { ModelBackend, Tensor } from '@phsa/core'

/**
 * Mean of scalars [1] that stays on the device: a sum, then a product with the 1 x 1 matrix 1/n. Undefined for none.
 * @param share [1, 1]: 1/n, of the scalars' type
 */
export function meanOf({ memory, ops }: ModelBackend, scalars: readonly Tensor[], share: Tensor): Tensor | undefined {
  const [first, ...rest] = scalars
  if (!first || rest.length === 0) return first
  return memory.scope(() => {
    const sum = rest.reduce((total, scalar) => ops.add(total, scalar), first)
    return memory.reshape(ops.linear(memory.reshape(sum, [1, 1]), share), [1])
  })
}
