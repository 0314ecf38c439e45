import {
  decodeElements,
  headerLength,
  InvalidFileError,
  inWords,
  parseSafetensorsHeader,
  type SafetensorsEntry,
  type SafetensorsType,
  safetensorsBytes,
  shortened,
} from '@phsa/core'
import { isRecord } from './is-record.js'
import type { ModelFiles } from './model-files.js'
import { readJsonFile } from './text-file.js'

/** Name of the weights where one file holds them. */
export const SINGLE_FILE = 'model.safetensors'
/** Name of the list of shards: `weight_map` says in which file a tensor is. */
export const INDEX_FILE = 'model.safetensors.index.json'

/** Element types that weights are read from. */
const WEIGHT_TYPES: readonly SafetensorsType[] = ['F32', 'F16', 'BF16', 'F64']

/** Elements that are read and widened at once. */
const READ_ELEMENTS = 2 ** 23

/** Where each tensor of a model lies: one file, or the shards that the index names. */
export interface WeightFiles {
  readonly names: ReadonlySet<string>
  /** Names the file in errors; for a tensor that is nowhere, the one that should name it. */
  labelOf(name: string): string
  shape(name: string): readonly number[]
  /** Reads one tensor's byte range. F32, F16 and BF16 as Float32Array; a double is rounded. */
  read(name: string): Promise<Float32Array>
}

/** Opens model.safetensors, or its shards. @throws InvalidFileError naming the file and what is wrong with it */
export async function openWeights(files: ModelFiles): Promise<WeightFiles> {
  const isSingle = (await files.size(SINGLE_FILE)) !== undefined
  const places = isSingle ? await placesOf(files, SINGLE_FILE) : await shardedPlaces(files)
  const placeOf = (name: string) => {
    const place = places.get(name)
    if (!place) throw new InvalidFileError(`${files.label}: there is no tensor ${name} in its safetensors files.`)
    return place
  }
  return {
    names: new Set(places.keys()),
    labelOf: (name) => `${files.label}/${places.get(name)?.file ?? (isSingle ? SINGLE_FILE : INDEX_FILE)}`,
    shape: (name) => placeOf(name).entry.shape,
    read: (name) => readElements(files, name, placeOf(name)),
  }
}

interface Place {
  readonly file: string
  readonly entry: SafetensorsEntry
}

async function placesOf(files: ModelFiles, file: string): Promise<Map<string, Place>> {
  const label = `${files.label}/${file}`
  const size = await files.size(file)
  if (size === undefined) throw new InvalidFileError(`${label}: it is missing, but ${INDEX_FILE} names it.`)
  const length = headerLength(await files.read(file, 0, Math.min(8, size)), size, label)
  const { entries } = parseSafetensorsHeader(await files.read(file, 8, 8 + length), size, label)
  for (const [name, { type }] of entries) {
    if (WEIGHT_TYPES.includes(type)) continue
    throw new InvalidFileError(`${label}: tensor ${shortened(name)} is ${type}; weights are F32, F16 or BF16.`)
  }
  return new Map([...entries].map(([name, entry]) => [name, { file, entry }]))
}

/** Index and shards must say the same: otherwise they are of different saves. */
async function shardedPlaces(files: ModelFiles): Promise<Map<string, Place>> {
  const map = await readWeightMap(files)
  const places = new Map<string, Place>()
  for (const file of [...new Set(map.values())].sort()) {
    for (const [name, place] of await placesOf(files, file)) {
      const named = map.get(name)
      if (named !== file) {
        const said = named === undefined ? 'does not name it' : `says that it is in ${named}`
        throw new InvalidFileError(
          `${files.label}/${file}: it has tensor ${shortened(name)}, but ${INDEX_FILE} ${said}; they are not of one model.`,
        )
      }
      places.set(name, place)
    }
  }
  for (const [name, file] of map) {
    if (!places.has(name)) {
      throw new InvalidFileError(`${files.label}/${file}: tensor ${shortened(name)} is missing, but ${INDEX_FILE} says that it is there.`)
    }
  }
  return places
}

async function readWeightMap(files: ModelFiles): Promise<ReadonlyMap<string, string>> {
  const index = await readJsonFile(files, INDEX_FILE)
  if (index === undefined) {
    throw new InvalidFileError(`${files.label}: there is neither ${SINGLE_FILE} nor ${INDEX_FILE}; a model folder has its weights in them.`)
  }
  const label = `${files.label}/${INDEX_FILE}`
  const map = new Map(Object.entries(isRecord(index) && isRecord(index.weight_map) ? index.weight_map : {}))
  if (map.size === 0) throw new InvalidFileError(`${label}: weight_map must map each tensor to the name of a file in the folder.`)
  for (const [name, file] of map) {
    // Letters only, so that a path cannot lead out of the folder.
    if (typeof file === 'string' && /^[\w.-]+\.safetensors$/.test(file)) continue
    throw new InvalidFileError(
      `${label}: weight_map has ${inWords(file)} for tensor ${shortened(name)}; it must map each tensor to the name of a .safetensors file in the folder.`,
    )
  }
  return map as ReadonlyMap<string, string>
}

/** In pieces, so that a large tensor is not held in two types. */
async function readElements(files: ModelFiles, name: string, { file, entry }: Place): Promise<Float32Array> {
  const { type, begin, end } = entry
  const label = `${files.label}/${file}: tensor ${shortened(name)}`
  const bytes = safetensorsBytes[type]
  const step = READ_ELEMENTS * bytes
  if (type === 'F32' || end - begin <= step) {
    const elements = decodeElements(type, await files.read(file, begin, end), label)
    return elements instanceof Float32Array ? elements : Float32Array.from(elements)
  }
  const elements = new Float32Array((end - begin) / bytes)
  for (let at = begin; at < end; at += step) {
    elements.set(decodeElements(type, await files.read(file, at, Math.min(end, at + step)), label), (at - begin) / bytes)
  }
  return elements
}
