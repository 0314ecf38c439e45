import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { InvalidConfigError, InvalidFileError, type PunctuationTable } from '@phsa/core'
import type { RowOptions, TrainingData } from '../training-data.js'
import { hashFile, punctuationIdentity } from './identities.js'
import { PackedRows } from './packed-rows.js'
import { ShardTokens } from './shard-tokens.js'
import { LENGTH_BYTES, readManifest, type ShardFile, TOKEN_BYTES, type TokenManifest } from './token-manifest.js'

/** What is checked when tokenized data is opened. */
export interface OpenShardsOptions {
  /** The tokenizer of the model, see `tokenizerIdentity`: other data is refused. */
  readonly tokenizer?: string
  /** The punctuation of the run: data whose manifest names another is refused. */
  readonly punctuation?: PunctuationTable
  /**
   * Whether the ids are read once and hashed, which takes about a second a gigabyte; sizes and the borders of documents are always checked.
   * Default true: a run of days should not find out in its middle. False for the second process that opens the same folder.
   */
  readonly verify?: boolean
  /** Stops the hashing by throwing the signal's reason. */
  readonly signal?: AbortSignal
  /** Called while hashing. */
  readonly onProgress?: (progress: { readonly doneBytes: number; readonly totalBytes: number }) => void
}

/**
 * What `tokenizeCorpus` wrote, read while training: ids by positioned reads as rows ask for them (Node has no memory maps; what is read often
 * stays in the operating system's cache), in memory only the borders of documents, 8 bytes each, and 12 for the order of an epoch.
 */
export class ShardedDataset implements TrainingData {
  readonly manifest: TokenManifest
  readonly fingerprint: string
  readonly largestId: number
  readonly #tokens: ShardTokens

  private constructor(manifest: TokenManifest, tokens: ShardTokens) {
    this.manifest = manifest
    this.largestId = manifest.largestId
    this.fingerprint = createHash('sha256')
      .update(JSON.stringify([manifest.dtype, manifest.shards.map(({ tokens, lengths }) => [tokens.sha256, lengths.sha256])]))
      .digest('hex')
      .slice(0, 16)
    this.#tokens = tokens
  }

  /**
   * @throws InvalidFileError for a folder that is no tokenized data, is incomplete or damaged; InvalidConfigError for data of another tokenizer
   * or punctuation
   */
  static async open(folder: string, options: OpenShardsOptions = {}): Promise<ShardedDataset> {
    const manifest = await readManifest(folder)
    requireSame('tokenizer', folder, manifest.tokenizer, options.tokenizer)
    requireSame('punctuation', folder, manifest.punctuation, options.punctuation && punctuationIdentity(options.punctuation))
    const starts = new Float64Array(manifest.documents + 1)
    let document = 0
    for (const { tokens, lengths } of manifest.shards) {
      const first = starts[document]
      for (const length of await readLengths(folder, lengths)) {
        starts[document + 1] = starts[document] + length
        document++
      }
      if ((starts[document] - first) * TOKEN_BYTES[manifest.dtype] === tokens.bytes) continue
      throw damaged(folder, lengths.file, `its documents do not add up to ${tokens.file}`)
    }
    if (options.verify ?? true) await verifyTokens(folder, manifest, options)
    return new ShardedDataset(manifest, new ShardTokens(folder, manifest, starts))
  }

  /** Tokens of one epoch, separators included. */
  get totalTokens(): number {
    return this.manifest.tokens
  }

  get totalDocuments(): number {
    return this.manifest.documents
  }

  rows(options: RowOptions): PackedRows {
    return new PackedRows(this.#tokens, options)
  }

  /** Closes the files; rows that are asked for afterwards open them again. */
  close(): void {
    this.#tokens.close()
  }
}

function requireSame(what: 'tokenizer' | 'punctuation', folder: string, written: string | undefined, given: string | undefined): void {
  if (given === undefined || written === undefined || written === given) return
  throw new InvalidConfigError(
    what,
    `${folder} was tokenized with the ${what} ${written}, this run has ${given}; tokenize it again with this one, or use the one it was made with.`,
  )
}

async function readLengths(folder: string, { file, sha256 }: ShardFile): Promise<Uint32Array> {
  const bytes = await readFile(join(folder, file))
  if (createHash('sha256').update(bytes).digest('hex') !== sha256) throw damaged(folder, file, 'its hash is another than its manifest says')
  return new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length), 0, bytes.length / LENGTH_BYTES)
}

async function verifyTokens(folder: string, { shards }: TokenManifest, { signal, onProgress }: OpenShardsOptions): Promise<void> {
  const totalBytes = shards.reduce((sum, { tokens }) => sum + tokens.bytes, 0)
  let doneBytes = 0
  const onBytes = (bytes: number) => {
    doneBytes += bytes
    onProgress?.({ doneBytes, totalBytes })
  }
  for (const { tokens } of shards) {
    const hash = await hashFile(join(folder, tokens.file), { signal, onBytes })
    if (hash !== tokens.sha256) throw damaged(folder, tokens.file, 'its hash is another than its manifest says')
  }
}

function damaged(folder: string, file: string, what: string): InvalidFileError {
  return new InvalidFileError(`${join(folder, file)} is damaged: ${what}; copy the folder again, or tokenize it again.`)
}
