import { open } from 'node:fs/promises'
import {
  decodeElements,
  type HostArray,
  headerLength,
  InvalidFileError,
  parseSafetensorsHeader,
  type SafetensorsTensor,
  serializeSafetensorsParts,
} from '@phsa/core'

/** A tensor of a file, on the host. */
export interface StoredTensor {
  readonly shape: readonly number[]
  readonly data: HostArray
}

/** Writes a file, a tensor at a time. */
export async function writeSafetensors(path: string, tensors: ReadonlyMap<string, SafetensorsTensor>): Promise<void> {
  const handle = await open(path, 'w')
  try {
    for (const part of serializeSafetensorsParts(tensors)) if (part.length > 0) await handle.writeFile(part)
  } finally {
    await handle.close()
  }
}

/**
 * Reads a file, a tensor at a time: it may be larger than what one buffer holds.
 * @throws InvalidFileError naming the file and the tensor
 */
export async function* readSafetensors(path: string): AsyncGenerator<[name: string, tensor: StoredTensor]> {
  const handle = await open(path, 'r')
  try {
    const { size } = await handle.stat()
    const read = async (begin: number, end: number): Promise<Uint8Array> => {
      const bytes = new Uint8Array(end - begin)
      let done = 0
      while (done < bytes.length) {
        const { bytesRead } = await handle.read(bytes, done, bytes.length - done, begin + done)
        if (bytesRead === 0) throw new InvalidFileError(`${path} ended while it was read; is something else writing to it?`)
        done += bytesRead
      }
      return bytes
    }
    const length = headerLength(await read(0, Math.min(8, size)), size, path)
    const { entries } = parseSafetensorsHeader(await read(8, 8 + length), size, path)
    for (const [name, { type, shape, begin, end }] of entries) {
      const data = decodeElements(type, await read(begin, end), `${path}: ${name}`)
      if (data instanceof Uint8Array) throw new InvalidFileError(`${path}: tensor ${name} holds bytes; numbers were expected.`)
      yield [name, { shape, data }]
    }
  } finally {
    await handle.close()
  }
}
