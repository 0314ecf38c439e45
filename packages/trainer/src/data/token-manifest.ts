import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { InvalidFileError } from '@phsa/core'
import type { BadRecordReport } from './document-reader.js'

export const MANIFEST_FILE = 'manifest.json'
const FORMAT = 'phsa-tokens'
const VERSION = 1

/** Element type of the ids in a shard, little-endian. */
export type TokenType = 'uint16' | 'uint32'

/** Bytes an id takes. */
export const TOKEN_BYTES = { uint16: 2, uint32: 4 } as const satisfies Record<TokenType, number>

/** Bytes that the length of a document takes: uint32, little-endian. */
export const LENGTH_BYTES = 4

/** A file of a shard. */
export interface ShardFile {
  readonly file: string
  readonly bytes: number
  /** SHA-256, hexadecimal. */
  readonly sha256: string
}

/** Whole documents one after the other: their ids, each ending with the separator, and the number of ids of each. */
export interface Shard {
  readonly tokens: ShardFile
  readonly lengths: ShardFile
}

/** A file that documents came from. */
export interface ManifestSource {
  readonly name: string
  readonly bytes: number
  /** Time of the last change, milliseconds since 1970. */
  readonly modified: number
  /** SHA-256, hexadecimal. */
  readonly sha256: string
}

/** What decides the ids of a tokenized corpus: two with the same recipe hold the same. */
export interface TokenRecipe {
  /** See `tokenizerIdentity`. */
  readonly tokenizer: string
  /** See `punctuationIdentity`; which tokens are punctuation is looked up when training, so the ids do not depend on it. */
  readonly punctuation?: string
  readonly separatorId: number
  readonly dtype: TokenType
  readonly textField: string
  readonly sources: readonly ManifestSource[]
}

/** What `manifest.json` of a tokenized corpus holds. */
export interface TokenManifest extends TokenRecipe {
  readonly format: typeof FORMAT
  readonly version: typeof VERSION
  readonly documents: number
  /** Separators included. */
  readonly tokens: number
  readonly largestId: number
  /** Positions by the names of the sources. */
  readonly badRecords: BadRecordReport
  readonly shards: readonly Shard[]
}

/** The manifest of shards that were made by a recipe. */
export function tokenManifest(recipe: TokenRecipe, made: Omit<TokenManifest, keyof TokenRecipe | 'format' | 'version'>): TokenManifest {
  return { format: FORMAT, version: VERSION, ...recipe, ...made }
}

/** Whether a path is a folder that `tokenizeCorpus` wrote. */
export async function isTokenizedCorpus(path: string): Promise<boolean> {
  const json = await readFile(join(path, MANIFEST_FILE), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return ''
    throw error
  })
  return json.includes(JSON.stringify(FORMAT))
}

/**
 * Reads the manifest of a tokenized corpus, and checks that its files are there in the sizes that it says.
 * @throws InvalidFileError naming what is missing or damaged
 */
export async function readManifest(folder: string): Promise<TokenManifest> {
  const path = join(folder, MANIFEST_FILE)
  let manifest: TokenManifest
  try {
    manifest = parseManifest(JSON.parse(await readFile(path, 'utf8')))
  } catch (cause) {
    throw new InvalidFileError(`${path} is no manifest of tokenized data (${(cause as Error).message}); tokenize it again.`, { cause })
  }
  for (const { file, bytes } of manifest.shards.flatMap(({ tokens, lengths }) => [tokens, lengths])) {
    const size = await sizeOf(join(folder, file))
    if (size === bytes) continue
    const found = size === undefined ? 'is missing' : `has ${size} bytes`
    throw new InvalidFileError(`${join(folder, file)} ${found}, its manifest says ${bytes}; copy the folder again, or tokenize it again.`)
  }
  return manifest
}

function parseManifest(json: unknown): TokenManifest {
  if (typeof json !== 'object' || json === null) throw new InvalidFileError('it must hold one JSON object')
  const manifest = json as TokenManifest
  if (manifest.format !== FORMAT) throw new InvalidFileError(`its format is ${JSON.stringify(manifest.format)}, not ${FORMAT}`)
  if (manifest.version !== VERSION)
    throw new InvalidFileError(`its version is ${JSON.stringify(manifest.version)}, this package reads ${VERSION}`)
  if (!Object.hasOwn(TOKEN_BYTES, manifest.dtype)) throw new InvalidFileError(`its dtype is ${JSON.stringify(manifest.dtype)}`)
  for (const name of ['separatorId', 'documents', 'tokens', 'largestId'] as const) requireCount(name, manifest[name])
  if (typeof manifest.tokenizer !== 'string') throw new InvalidFileError('it names no tokenizer')
  if (!Array.isArray(manifest.sources)) throw new InvalidFileError('it lists no sources')
  if (!Array.isArray(manifest.shards) || manifest.shards.length === 0) throw new InvalidFileError('it lists no shards')
  for (const shard of manifest.shards) {
    for (const kind of ['tokens', 'lengths'] as const) {
      const part: unknown = shard?.[kind]
      if (!isShardFile(part)) throw new InvalidFileError(`a shard has the ${kind} ${JSON.stringify(part)}`)
    }
  }
  const sum = (count: (shard: Shard) => number) => manifest.shards.reduce((total, shard) => total + count(shard), 0)
  if (sum(({ tokens }) => tokens.bytes) !== manifest.tokens * TOKEN_BYTES[manifest.dtype]) {
    throw new InvalidFileError(`its shards do not hold ${manifest.tokens} tokens`)
  }
  if (sum(({ lengths }) => lengths.bytes) !== manifest.documents * LENGTH_BYTES) {
    throw new InvalidFileError(`its shards do not hold ${manifest.documents} documents`)
  }
  return manifest
}

function requireCount(name: string, value: unknown): void {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return
  throw new InvalidFileError(`${name} is ${JSON.stringify(value)}, not a non-negative integer`)
}

/** A name without a folder: a manifest must not make this read files elsewhere. */
function isShardFile(value: unknown): value is ShardFile {
  if (typeof value !== 'object' || value === null) return false
  const { file, bytes, sha256 } = value as ShardFile
  return (
    typeof file === 'string' && /^[\w-]+\.bin$/.test(file) && Number.isSafeInteger(bytes) && bytes >= 0 && /^[0-9a-f]{64}$/.test(sha256)
  )
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
