import { closeSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { InvalidFileError } from '@phsa/core'
import { TOKEN_BYTES, type TokenManifest } from './token-manifest.js'
import type { TokenizedDocuments } from './tokenized-documents.js'

/** Shards kept open: a corpus may have more than a process may open files. */
const OPEN_SHARDS = 64

/** The ids of a folder of shards, read where they are asked for. */
export class ShardTokens implements TokenizedDocuments {
  readonly starts: Float64Array
  readonly #paths: readonly string[]
  readonly #bytes: 2 | 4
  /** First token of each shard. */
  readonly #shardStarts: readonly number[]
  /** File of each open shard, the one used longest ago first. */
  readonly #open = new Map<number, number>()

  constructor(folder: string, { shards, dtype }: TokenManifest, starts: Float64Array) {
    this.starts = starts
    this.#paths = shards.map(({ tokens }) => join(folder, tokens.file))
    this.#bytes = TOKEN_BYTES[dtype]
    let start = 0
    this.#shardStarts = shards.map(({ tokens }) => {
      const first = start
      start += tokens.bytes / this.#bytes
      return first
    })
  }

  /** @throws InvalidFileError when the file ends early; errors of the file system */
  read(start: number, count: number): Int32Array {
    const shard = this.#shardOf(start)
    const file = this.#fileOf(shard)
    const from = (start - this.#shardStarts[shard]) * this.#bytes
    const bytes = new Uint8Array(count * this.#bytes)
    for (let done = 0; done < bytes.length; ) {
      const read = readSync(file, bytes, done, bytes.length - done, from + done)
      if (read === 0) throw new InvalidFileError(`${this.#paths[shard]} ended while it was read; is something else writing to it?`)
      done += read
    }
    return this.#bytes === 2 ? Int32Array.from(new Uint16Array(bytes.buffer)) : new Int32Array(bytes.buffer)
  }

  close(): void {
    for (const file of this.#open.values()) closeSync(file)
    this.#open.clear()
  }

  #fileOf(shard: number): number {
    let file = this.#open.get(shard)
    if (file === undefined) {
      if (this.#open.size === OPEN_SHARDS) this.#closeOldest()
      file = openSync(this.#paths[shard], 'r')
    } else this.#open.delete(shard)
    this.#open.set(shard, file)
    return file
  }

  #closeOldest(): void {
    for (const [shard, file] of this.#open) {
      this.#open.delete(shard)
      closeSync(file)
      return
    }
  }

  /** The last shard that starts at the token or before it. */
  #shardOf(token: number): number {
    let low = 0
    let high = this.#shardStarts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if (this.#shardStarts[middle] <= token) low = middle
      else high = middle - 1
    }
    return low
  }
}
