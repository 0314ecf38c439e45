import { decodeElements, headerLength, InvalidFileError, parseSafetensorsHeader, type SafetensorsEntry } from '@phsa/core'
import { isRecord } from './is-record.js'
import type { ModelFiles } from './model-files.js'
import { readJsonFile } from './text-file.js'

const SINGLE_FILE = 'model.safetensors'
const INDEX_FILE = 'model.safetensors.index.json'

/** Where each tensor of a model lies: one file, or the shards that the index names. */
export interface WeightFiles {
  readonly names: ReadonlySet<string>
  /** Names the file in errors; the folder for a tensor that is nowhere. */
  labelOf(name: string): string
  shape(name: string): readonly number[]
  /** Reads one tensor's byte range. F32, F16 and BF16 as Float32Array; a double is rounded. @throws InvalidFileError for integers */
  read(name: string): Promise<Float32Array>
}

/** Opens model.safetensors, or its shards. @throws InvalidFileError naming the file and what is wrong with it */
export async function openWeights(files: ModelFiles): Promise<WeightFiles> {
  const places = new Map<string, { file: string; entry: SafetensorsEntry }>()
  for (const file of await weightFileNames(files)) {
    for (const [name, entry] of await readHeader(files, file)) {
      const earlier = places.get(name)
      if (earlier)
        throw new InvalidFileError(`${files.label}: tensor ${name} is both in ${earlier.file} and in ${file}; it must be in one.`)
      places.set(name, { file, entry })
    }
  }
  const placeOf = (name: string) => {
    const place = places.get(name)
    if (!place) throw new InvalidFileError(`${files.label}: there is no tensor ${name} in its safetensors files.`)
    return place
  }
  return {
    names: new Set(places.keys()),
    labelOf: (name) => (places.has(name) ? `${files.label}/${placeOf(name).file}` : files.label),
    shape: (name) => placeOf(name).entry.shape,
    async read(name) {
      const { file, entry } = placeOf(name)
      const label = `${files.label}/${file}: tensor ${name}`
      if (!['F32', 'F16', 'BF16', 'F64'].includes(entry.type)) {
        throw new InvalidFileError(`${label} is ${entry.type}; weights are F32, F16 or BF16.`)
      }
      const elements = decodeElements(entry.type, await files.read(file, entry.begin, entry.end), label)
      return elements instanceof Float32Array ? elements : Float32Array.from(elements)
    },
  }
}

async function weightFileNames(files: ModelFiles): Promise<string[]> {
  if ((await files.size(SINGLE_FILE)) !== undefined) return [SINGLE_FILE]
  const index = await readJsonFile(files, INDEX_FILE)
  if (index === undefined) {
    throw new InvalidFileError(`${files.label}: there is neither ${SINGLE_FILE} nor ${INDEX_FILE}; a model folder has its weights in them.`)
  }
  const map = isRecord(index) && isRecord(index.weight_map) ? Object.values(index.weight_map) : []
  const names = map.filter((name): name is string => typeof name === 'string' && /^[\w.-]+$/.test(name))
  if (names.length === 0 || names.length !== map.length) {
    throw new InvalidFileError(`${files.label}/${INDEX_FILE}: weight_map must map each tensor to the name of a file in the folder.`)
  }
  return [...new Set(names)].sort()
}

async function readHeader(files: ModelFiles, file: string): Promise<ReadonlyMap<string, SafetensorsEntry>> {
  const label = `${files.label}/${file}`
  const size = await files.size(file)
  if (size === undefined) throw new InvalidFileError(`${label}: it is missing, but ${INDEX_FILE} names it.`)
  const length = headerLength(await files.read(file, 0, Math.min(8, size)), size, label)
  return parseSafetensorsHeader(await files.read(file, 8, 8 + length), size, label).entries
}
