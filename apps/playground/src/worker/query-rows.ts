import type { ModelBackend, Tensor } from '@phsa/core'

/** Some rows of a [T, H, D] tensor, a new tensor [n, H, D]. */
export function queryRows({ memory, ops }: ModelBackend, x: Tensor, rows: Int32Array): Tensor {
  const [tokens, heads, headDim] = x.shape
  return memory.scope(() => {
    const taken = ops.embedding(memory.reshape(x, [tokens, heads * headDim]), memory.upload(rows, [rows.length]))
    return memory.reshape(taken, [rows.length, heads, headDim])
  })
}
