import { readdir, rename, rm, rmdir, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { InvalidConfigError, InvalidFileError, type PunctuationTable } from '@phsa/core'
import { syncToDisk } from '../checkpoint/sync-to-disk.js'
import { nextTurn } from '../next-turn.js'
import { requireInteger } from '../number-settings.js'
import { hashSources, type PlannedRecipe, recipeDifferences, requireUnchanged } from './corpus-recipe.js'
import { type BadRecordReport, DocumentReader, type ReadOptions } from './document-reader.js'
import type { RecordPosition } from './document-record.js'
import { type DocumentTokenizer, defaultSeparator } from './document-tokenizer.js'
import { type DocumentEncoder, encodeInOrder } from './encode-in-order.js'
import { punctuationIdentity } from './identities.js'
import { ShardWriter } from './shard-writer.js'
import { makeTemporaryFolder } from './temporary-folder.js'
import { isTokenizedCorpus, MANIFEST_FILE, readManifest, type TokenManifest, tokenManifest } from './token-manifest.js'

/** What is tokenized, with what, and where to. */
export interface TokenizeCorpusOptions extends ReadOptions {
  /** Files (.txt, .txt.gz, .jsonl, .jsonl.gz, .parquet) and dataset folders. */
  readonly sources: readonly string[]
  /** Folder for the shards and their manifest; those above it are made. */
  readonly out: string
  readonly tokenizer: DocumentTokenizer
  /** Encodes instead of the tokenizer, to the same ids; with it several documents are under way at once. */
  readonly encoder?: DocumentEncoder
  /** What the manifest calls the tokenizer: `await tokenizerIdentity(path)` for a tokenizer.json. */
  readonly tokenizerIdentity: string
  /** Written into the manifest, so that a run can find that its punctuation is another. */
  readonly punctuation?: PunctuationTable
  /** Id between documents. Default: that of `<|endoftext|>` where one id decodes back to it, else the tokenizer's `eosTokenId`. */
  readonly separatorId?: number
  /** Ids after which a shard is complete. Default 134,217,728. */
  readonly shardTokens?: number
  /** Called after each piece that is hashed and each document that is tokenized. */
  readonly onProgress?: (progress: CorpusProgress) => void
}

/** How far the tokenizing of a corpus is. */
export interface CorpusProgress {
  /** The sources are hashed first, which takes about a second a gigabyte. */
  readonly stage: 'hashing' | 'tokenizing'
  /** Bytes of the sources that this stage has read, as they lie on the disk. */
  readonly doneBytes: number
  readonly totalBytes: number
  readonly documents: number
  readonly tokens: number
  readonly badRecords: number
  readonly tokensPerSecond: number
  /** Of this stage; undefined before anything can be said. */
  readonly secondsLeft: number | undefined
}

/** A folder of shards, and what its manifest says. */
export interface TokenizedCorpus {
  readonly folder: string
  readonly manifest: TokenManifest
  /** Whether it was there already. */
  readonly reused: boolean
}

/**
 * Tokenizes documents once, into shards on disk that `ShardedDataset` reads. The folder appears when all of it is written and flushed, so a
 * kill leaves none. One that was made from the same sources by the same tokenizer is taken as it is.
 * @throws InvalidConfigError for a folder of something else, saying what differs; InvalidFileError for sources that cannot be read or hold no
 * document, a full disk, and bad records with `onBadRecord: 'fail'`; the signal's reason
 */
export async function tokenizeCorpus(options: TokenizeCorpusOptions): Promise<TokenizedCorpus> {
  const { out, tokenizer, punctuation, separatorId = defaultSeparator(tokenizer), textField = 'text', signal } = options
  requireInteger('separatorId', separatorId, 0)
  requireInteger('shardTokens', options.shardTokens ?? 1, 1)
  const reader = await DocumentReader.open(options.sources, options)
  const isSmall = Math.max(tokenizer.vocabSize ?? Number.POSITIVE_INFINITY, separatorId + 1) <= 2 ** 16
  const planned: PlannedRecipe = {
    tokenizer: options.tokenizerIdentity,
    ...(punctuation ? { punctuation: punctuationIdentity(punctuation) } : {}),
    separatorId,
    dtype: isSmall ? 'uint16' : 'uint32',
    textField,
    files: reader.files,
  }
  const manifest = await findTokenized(out, planned, signal)
  if (manifest) return { folder: out, manifest, reused: true }
  const temporary = await makeTemporaryFolder(out)
  try {
    const made = await write(temporary, reader, planned, options)
    if (await moved(temporary, out)) return { folder: out, manifest: made, reused: false }
    // Another process was faster: with the same, where two runs share a folder of tokens.
    await rm(temporary, { recursive: true })
    const theirs = await findTokenized(out, planned, signal)
    if (theirs) return { folder: out, manifest: theirs, reused: true }
    throw new InvalidConfigError('out', `${out} was filled while it was tokenized for, and emptied again; give another folder.`)
  } catch (cause) {
    await rm(temporary, { recursive: true, force: true })
    if (!['ENOSPC', 'EDQUOT', 'EFBIG', 'EIO'].includes((cause as NodeJS.ErrnoException).code ?? '')) throw cause
    throw new InvalidFileError(
      `the tokens could not be written to ${out} (${(cause as Error).message}), and nothing is left of them; free some space, or give another folder.`,
      { cause },
    )
  }
}

/**
 * What is in the folder already, when it is of this recipe.
 * @throws InvalidConfigError when it is anything else
 */
async function findTokenized(out: string, planned: PlannedRecipe, signal?: AbortSignal): Promise<TokenManifest | undefined> {
  const names = await readdir(out).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    if (error.code === 'ENOTDIR') throw new InvalidConfigError('out', `${out} is a file; give a folder.`, { cause: error })
    throw error
  })
  if (names.length === 0) return undefined
  if (!(await isTokenizedCorpus(out))) {
    throw new InvalidConfigError('out', `${out} holds other things than tokenized data; give a new or empty folder.`)
  }
  const manifest = await readManifest(out)
  const differences = await recipeDifferences(manifest, planned, signal)
  if (differences.length === 0) return manifest
  throw new InvalidConfigError(
    'out',
    `${out} holds the tokens of something else: ${differences.join('; ')}. Give another folder, or remove this one.`,
  )
}

async function write(
  temporary: string,
  reader: DocumentReader,
  { files, ...recipe }: PlannedRecipe,
  { tokenizer, encoder = onThisThread(tokenizer), shardTokens = 2 ** 27, signal, onProgress }: TokenizeCorpusOptions,
): Promise<TokenManifest> {
  const writer = new ShardWriter(temporary, { dtype: recipe.dtype, separatorId: recipe.separatorId, shardTokens })
  let started = performance.now()
  const report = (stage: CorpusProgress['stage'], doneBytes: number) => {
    const seconds = (performance.now() - started) / 1000
    const { documents, tokens } = writer
    const { totalBytes, badRecords } = reader
    const secondsLeft = doneBytes > 0 ? (seconds / doneBytes) * (totalBytes - doneBytes) : undefined
    const tokensPerSecond = seconds > 0 ? tokens / seconds : 0
    onProgress?.({ stage, doneBytes, totalBytes, documents, tokens, badRecords: badRecords.count, tokensPerSecond, secondsLeft })
  }
  let hashed = 0
  const onBytes = (bytes: number) => {
    hashed += bytes
    report('hashing', hashed)
  }
  const sources = await hashSources(files, { signal, onBytes })
  started = performance.now()
  try {
    for await (const { ids, position } of encodeInOrder(reader, encoder)) {
      signal?.throwIfAborted()
      if (ids.length === 0) reader.reject(position, 'the tokenizer makes no token of it')
      else await writer.add(ids)
      report('tokenizing', reader.doneBytes)
    }
    signal?.throwIfAborted()
    await writer.finish()
  } finally {
    await writer.abandon()
  }
  if (writer.documents === 0) throw reader.emptyError()
  await requireUnchanged(files)
  const { documents, tokens, largestId, shards } = writer
  const manifest = tokenManifest({ ...recipe, sources }, { documents, tokens, largestId, badRecords: namedBadRecords(reader), shards })
  await writeFile(join(temporary, MANIFEST_FILE), `${JSON.stringify(manifest, undefined, 2)}\n`, { flush: true })
  await syncToDisk(temporary)
  return manifest
}

/** Whether the folder got its place; not where that was filled meanwhile. */
async function moved(temporary: string, out: string): Promise<boolean> {
  try {
    // An empty folder may be there; only Linux would rename over it.
    await rmdir(out).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error
    })
    await rename(temporary, out)
  } catch (error) {
    if (['ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) return false
    throw error
  }
  await syncToDisk(dirname(resolve(out)))
  return true
}

/** Lets timers and signals through between two documents. */
function onThisThread(tokenizer: DocumentTokenizer): DocumentEncoder {
  return {
    concurrency: 1,
    async encode(text) {
      await nextTurn()
      return tokenizer.encode(text)
    },
  }
}

/** Where the files lie is this machine's business: positions are by the names that the sources have in the manifest. */
function namedBadRecords({ files, badRecords }: DocumentReader): BadRecordReport {
  const names = new Map(files.map(({ path, name }) => [path, name]))
  const rename = (position: RecordPosition) => ({ ...position, file: names.get(position.file) ?? position.file })
  return { count: badRecords.count, listed: badRecords.listed.map(({ reason, position }) => ({ reason, position: rename(position) })) }
}
