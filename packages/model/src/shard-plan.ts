import { InvalidConfigError, type SafetensorsDescription, safetensorsSize } from '@phsa/core'

/** Most bytes of tensors in one file unless told; what transformers 4 takes. */
export const USUAL_SHARD_BYTES = 5e9

/** Tensors of one file, in its order. */
export type Shard = ReadonlyMap<string, SafetensorsDescription>

/**
 * Which tensors go into which file, by file name: `model.safetensors`, or shards where that would be larger than allowed. A tensor is never split, so a
 * larger one has a shard to itself.
 * @param stem what the names begin with
 * @throws InvalidConfigError for a limit below 1
 */
export function planShards(tensors: Shard, maxShardBytes = USUAL_SHARD_BYTES, stem = 'model'): ReadonlyMap<string, Shard> {
  if (!(maxShardBytes >= 1)) {
    throw new InvalidConfigError(
      'maxShardBytes',
      `maxShardBytes is ${maxShardBytes}; it must be at least 1; Infinity keeps the weights in one file.`,
    )
  }
  const shards: Map<string, SafetensorsDescription>[] = []
  let bytes = 0
  for (const [name, tensor] of tensors) {
    const size = safetensorsSize(tensor)
    if (shards.length === 0 || bytes + size > maxShardBytes) {
      shards.push(new Map())
      bytes = 0
    }
    shards[shards.length - 1].set(name, tensor)
    bytes += size
  }
  if (shards.length === 1) return new Map([[`${stem}.safetensors`, shards[0]]])
  const digits = (count: number) => String(count).padStart(5, '0')
  return new Map(shards.map((shard, index) => [`${stem}-${digits(index + 1)}-of-${digits(shards.length)}.safetensors`, shard]))
}

/** The index of shards, as transformers writes it; undefined for a single file. */
export function shardIndexJson(shards: ReadonlyMap<string, Shard>): Record<string, unknown> | undefined {
  if (shards.size === 1) return undefined
  const placed = [...shards].flatMap(([file, shard]) =>
    [...shard].map(([name, tensor]) => ({ file, name, bytes: safetensorsSize(tensor) })),
  )
  return {
    metadata: { total_size: placed.reduce((total, { bytes }) => total + bytes, 0) },
    weight_map: Object.fromEntries(placed.map(({ name, file }) => [name, file])),
  }
}
