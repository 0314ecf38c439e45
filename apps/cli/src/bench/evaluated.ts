import type { AttentionBackend, HostArray, Tensor } from '@phsa/core'

/** Runs a call in a scope, downloads the tensors of its result and frees them. */
export async function evaluated<K extends string>(backend: AttentionBackend, run: () => Record<K, Tensor>): Promise<Record<K, HostArray>> {
  const tensors = backend.memory.scope(run)
  try {
    const values: Partial<Record<K, HostArray>> = {}
    for (const name of Object.keys(tensors) as K[]) values[name] = await backend.memory.download(tensors[name])
    return values as Record<K, HostArray>
  } finally {
    for (const tensor of Object.values<Tensor>(tensors)) tensor.dispose()
  }
}
