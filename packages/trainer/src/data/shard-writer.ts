import { createHash } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { InvalidFileError } from '@phsa/core'
import { type Shard, type ShardFile, TOKEN_BYTES, type TokenType } from './token-manifest.js'

/** Ids that are collected before they are written. */
const BUFFERED = 2 ** 19

/** Writes documents into shards of about the same size; a document lies wholly in one of them. */
export class ShardWriter {
  readonly shards: Shard[] = []
  readonly #folder: string
  readonly #dtype: TokenType
  readonly #separatorId: number
  readonly #shardTokens: number
  readonly #limit: number
  #open: { tokens: ArrayFile; lengths: ArrayFile; count: number } | undefined
  #documents = 0
  #tokens = 0
  #largestId = 0

  constructor(folder: string, options: { dtype: TokenType; separatorId: number; shardTokens: number }) {
    this.#folder = folder
    this.#dtype = options.dtype
    this.#separatorId = options.separatorId
    this.#shardTokens = options.shardTokens
    this.#limit = 2 ** (8 * TOKEN_BYTES[options.dtype])
  }

  get documents(): number {
    return this.#documents
  }

  /** Separators included. */
  get tokens(): number {
    return this.#tokens
  }

  get largestId(): number {
    return this.#largestId
  }

  /** @throws InvalidFileError for an id that the tokenizer cannot have; errors of the file system */
  async add(ids: ArrayLike<number>): Promise<void> {
    for (let place = 0; place < ids.length; place++) this.#require(ids[place])
    this.#largestId = Math.max(this.#largestId, this.#separatorId)
    this.#open ??= await this.#start()
    const { tokens, lengths } = this.#open
    await tokens.add(ids)
    await tokens.add([this.#separatorId])
    await lengths.add([ids.length + 1])
    this.#open.count += ids.length + 1
    this.#documents++
    this.#tokens += ids.length + 1
    if (this.#open.count >= this.#shardTokens) await this.finish()
  }

  /** Completes the shard that is being written, and flushes it to the disk. */
  async finish(): Promise<void> {
    if (!this.#open) return
    const { tokens, lengths } = this.#open
    this.shards.push({ tokens: await tokens.finish(), lengths: await lengths.finish() })
    this.#open = undefined
  }

  /** Closes the files of a shard that will not be completed. */
  async abandon(): Promise<void> {
    await this.#open?.tokens.close()
    await this.#open?.lengths.close()
    this.#open = undefined
  }

  async #start() {
    const number = String(this.shards.length).padStart(5, '0')
    const tokens = await ArrayFile.create(this.#folder, `tokens-${number}.bin`, this.#dtype)
    return { tokens, lengths: await ArrayFile.create(this.#folder, `lengths-${number}.bin`, 'uint32'), count: 0 }
  }

  #require(id: number): void {
    if (!Number.isInteger(id) || id < 0 || id >= this.#limit) {
      throw new InvalidFileError(`the tokenizer gave the id ${id}, which its vocabulary of at most ${this.#limit} cannot have.`)
    }
    if (id > this.#largestId) this.#largestId = id
  }
}

/** A file of integers, hashed while it is written. */
class ArrayFile {
  readonly #name: string
  readonly #handle: FileHandle
  readonly #buffer: Uint16Array | Uint32Array
  readonly #hash = createHash('sha256')
  #filled = 0
  #bytes = 0

  private constructor(name: string, handle: FileHandle, type: TokenType) {
    this.#name = name
    this.#handle = handle
    this.#buffer = type === 'uint16' ? new Uint16Array(BUFFERED) : new Uint32Array(BUFFERED)
  }

  static async create(folder: string, name: string, type: TokenType): Promise<ArrayFile> {
    return new ArrayFile(name, await open(join(folder, name), 'wx'), type)
  }

  async add(values: ArrayLike<number>): Promise<void> {
    for (let place = 0; place < values.length; place++) {
      this.#buffer[this.#filled++] = values[place]
      if (this.#filled === BUFFERED) await this.#flush()
    }
  }

  async finish(): Promise<ShardFile> {
    await this.#flush()
    await this.#handle.sync()
    await this.#handle.close()
    return { file: this.#name, bytes: this.#bytes, sha256: this.#hash.digest('hex') }
  }

  async close(): Promise<void> {
    await this.#handle.close()
  }

  async #flush(): Promise<void> {
    const bytes = new Uint8Array(this.#buffer.buffer, 0, this.#filled * this.#buffer.BYTES_PER_ELEMENT)
    this.#hash.update(bytes)
    for (let done = 0; done < bytes.length; ) done += (await this.#handle.write(bytes, done)).bytesWritten
    this.#bytes += bytes.length
    this.#filled = 0
  }
}
