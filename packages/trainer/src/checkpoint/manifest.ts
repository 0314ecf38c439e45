import { createHash } from 'node:crypto'
import { open, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { DamagedCheckpointError } from './damaged-checkpoint-error.js'

/** The file that lists all others of a checkpoint; written last. */
export const MANIFEST_FILE = 'manifest.json'

/** What a file must be, to the byte. */
export interface FileDigest {
  readonly bytes: number
  /** In hexadecimal digits. */
  readonly sha256: string
}

/** By file name. */
export type Manifest = ReadonlyMap<string, FileDigest>

/** Bytes that are read at once to be hashed. */
const READ_BYTES = 2 ** 22

/** The manifest as its file holds it. */
export function manifestJson(manifest: Manifest): Record<string, unknown> {
  return { version: 1, files: Object.fromEntries([...manifest].sort(([left], [right]) => (left < right ? -1 : 1))) }
}

/**
 * Checks that every file of a checkpoint is there and is, to the byte, what was written: sizes first, then hashes.
 * @throws DamagedCheckpointError naming the first file that is not
 */
export async function requireWhole(path: string): Promise<Manifest> {
  const manifest = await readManifest(path)
  for (const [name, { bytes }] of manifest) {
    const file = join(path, name)
    const { size } = await stat(file).catch((cause: Error) => {
      throw new DamagedCheckpointError(path, `${file} cannot be read (${cause.message}), but ${MANIFEST_FILE} lists it.`, { cause })
    })
    if (size !== bytes) throw new DamagedCheckpointError(path, `${file} is damaged: it has ${size} bytes; ${bytes} were written.`)
  }
  for (const [name, { sha256 }] of manifest) {
    const file = join(path, name)
    const found = await hashOf(file).catch((cause: Error) => {
      throw new DamagedCheckpointError(path, `${file} cannot be read (${cause.message}).`, { cause })
    })
    if (found === sha256) continue
    throw new DamagedCheckpointError(path, `${file} is damaged: its sha256 is ${found}; what was written has ${sha256}.`)
  }
  return manifest
}

/** A checkpoint as it was found. */
export type Inspected =
  | { readonly manifest: Manifest; readonly damage?: undefined }
  | { readonly manifest?: undefined; readonly damage: DamagedCheckpointError }

/** Reads and hashes all of a checkpoint. @returns its manifest, or what is wrong with it */
export async function inspectCheckpoint(path: string): Promise<Inspected> {
  try {
    return { manifest: await requireWhole(path) }
  } catch (error) {
    if (error instanceof DamagedCheckpointError) return { damage: error }
    throw error
  }
}

async function readManifest(path: string): Promise<Manifest> {
  const file = join(path, MANIFEST_FILE)
  try {
    return parseManifest(JSON.parse(await readFile(file, 'utf8')))
  } catch (cause) {
    throw new DamagedCheckpointError(path, `${file} is no list of a checkpoint's files (${(cause as Error).message}).`, { cause })
  }
}

function parseManifest(json: unknown): Manifest {
  const { version, files } = (json ?? {}) as { version?: unknown; files?: unknown }
  if (version !== 1) throw new Error(`its version is ${JSON.stringify(version)}, this package reads 1`)
  if (typeof files !== 'object' || files === null) throw new Error('files must be an object')
  const entries = Object.entries(files as Record<string, FileDigest | null>)
  for (const [name, digest] of entries) {
    // Without slashes, so that a name cannot lead out of the folder.
    const isSound = /^[\w.-]+$/.test(name) && Number.isSafeInteger(digest?.bytes) && /^[\da-f]{64}$/.test(digest?.sha256 ?? '')
    if (!isSound) throw new Error(`the entry ${JSON.stringify(name)} has no bytes and sha256`)
  }
  return new Map(entries as [string, FileDigest][])
}

/** Reads the next piece while it hashes one. */
async function hashOf(file: string): Promise<string> {
  const hash = createHash('sha256')
  const handle = await open(file, 'r')
  try {
    let [current, next] = [new Uint8Array(READ_BYTES), new Uint8Array(READ_BYTES)]
    let { bytesRead } = await handle.read(current, 0, READ_BYTES)
    while (bytesRead > 0) {
      const reading = handle.read(next, 0, READ_BYTES)
      hash.update(current.subarray(0, bytesRead))
      bytesRead = (await reading).bytesRead
      ;[current, next] = [next, current]
    }
  } finally {
    await handle.close()
  }
  return hash.digest('hex')
}
