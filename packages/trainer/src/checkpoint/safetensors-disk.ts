import { type FileHandle, open } from 'node:fs/promises'
import { decodeElements, type HostArray, headerLength, InvalidFileError, parseSafetensorsHeader, type SafetensorsEntry } from '@phsa/core'

/** Most bytes of one read call; the operating system takes less than 2 GiB at once. */
const READ_BYTES = 2 ** 28

/** A tensor of a file, on the host. */
export interface StoredTensor {
  readonly shape: readonly number[]
  readonly data: HostArray
}

/**
 * Reads a file, a tensor at a time: it may be larger than what one buffer holds.
 * @throws InvalidFileError naming the file and the tensor
 */
export async function* readSafetensors(path: string): AsyncGenerator<[name: string, tensor: StoredTensor]> {
  const handle = await open(path, 'r')
  try {
    for (const [name, entry] of await readEntries(handle, path)) {
      yield [name, { shape: entry.shape, data: await readElements(handle, path, name, entry) }]
    }
  } finally {
    await handle.close()
  }
}

/**
 * What a file holds, from its header alone; that all of it is there is checked.
 * @throws InvalidFileError naming the file and the tensor
 */
export async function readSafetensorsEntries(path: string): Promise<ReadonlyMap<string, SafetensorsEntry>> {
  const handle = await open(path, 'r').catch((cause: Error) => {
    throw new InvalidFileError(`${path} cannot be read (${cause.message}); give another checkpoint.`, { cause })
  })
  try {
    return await readEntries(handle, path)
  } finally {
    await handle.close()
  }
}

/**
 * Reads one tensor whose place in the file is known.
 * @throws InvalidFileError naming the file and the tensor
 */
export async function readTensor(path: string, name: string, entry: SafetensorsEntry): Promise<HostArray> {
  const handle = await open(path, 'r')
  try {
    return await readElements(handle, path, name, entry)
  } finally {
    await handle.close()
  }
}

async function readElements(handle: FileHandle, path: string, name: string, { type, begin, end }: SafetensorsEntry): Promise<HostArray> {
  const data = decodeElements(type, await readBytes(handle, path, begin, end), `${path}: ${name}`)
  if (data instanceof Uint8Array) throw new InvalidFileError(`${path}: tensor ${name} holds bytes; numbers were expected.`)
  return data
}

async function readEntries(handle: FileHandle, path: string): Promise<ReadonlyMap<string, SafetensorsEntry>> {
  const { size } = await handle.stat()
  const length = headerLength(await readBytes(handle, path, 0, Math.min(8, size)), size, path)
  return parseSafetensorsHeader(await readBytes(handle, path, 8, 8 + length), size, path).entries
}

async function readBytes(handle: FileHandle, path: string, begin: number, end: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(end - begin)
  let done = 0
  while (done < bytes.length) {
    const { bytesRead } = await handle.read(bytes, done, Math.min(READ_BYTES, bytes.length - done), begin + done)
    if (bytesRead === 0) throw new InvalidFileError(`${path} ended while it was read; is something else writing to it?`)
    done += bytesRead
  }
  return bytes
}
