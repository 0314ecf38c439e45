import { join } from 'node:path'
import { type HostArray, InvalidFileError, type SafetensorsEntry } from '@phsa/core'
import type { Manifest } from './manifest.js'
import { readSafetensorsEntries, readTensor } from './safetensors-disk.js'

/** The tensors of one part of a checkpoint, in one file or in shards. */
export interface StoredTensors {
  /** What to call the files in errors. */
  readonly label: string
  /** Paths, in their order. */
  readonly files: readonly string[]
  /** By the tensor's name. */
  readonly places: ReadonlyMap<string, { readonly file: string; readonly entry: SafetensorsEntry }>
}

/**
 * Where each tensor of `STEM.safetensors`, or of its shards, lies.
 * @throws InvalidFileError naming the file
 */
export async function storedTensors(path: string, manifest: Manifest, stem: string): Promise<StoredTensors> {
  const isPart = new RegExp(`^${stem}(-\\d+-of-\\d+)?\\.safetensors$`)
  const files = [...manifest.keys()].filter((name) => isPart.test(name)).map((name) => join(path, name))
  const places = new Map<string, { file: string; entry: SafetensorsEntry }>()
  for (const file of files) for (const [name, entry] of await readSafetensorsEntries(file)) places.set(name, { file, entry })
  return { label: join(path, files.length > 1 ? `${stem}-*.safetensors` : `${stem}.safetensors`), files, places }
}

/** Elements of one tensor. @throws InvalidFileError where there is none of that name */
export async function readStored({ label, places }: StoredTensors, name: string): Promise<HostArray> {
  const place = places.get(name)
  if (!place) throw new InvalidFileError(`${label} lacks ${name}; give another checkpoint.`)
  return readTensor(place.file, name, place.entry)
}
