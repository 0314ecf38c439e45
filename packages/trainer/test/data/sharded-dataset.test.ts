import { cp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PunctuationTable } from '@phsa/core'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { createTrainer } from '../../src/create-trainer.js'
import type { DocumentTokenizer } from '../../src/data/document-tokenizer.js'
import { ShardedDataset } from '../../src/data/sharded-dataset.js'
import { TextDataset } from '../../src/data/text-dataset.js'
import type { TokenManifest } from '../../src/data/token-manifest.js'
import { tokenizeCorpus } from '../../src/data/tokenize-corpus.js'
import { letterPunctuation, letterTokenizer, tinyModel } from '../tiny-model.js'
import { temporaryFiles } from './temporary-files.js'

const files = temporaryFiles()

const small: DocumentTokenizer = { ...letterTokenizer, vocabSize: 30 }

async function corpus(name: string, documents: readonly string[], shardTokens = 40): Promise<string> {
  const source = await files.write(`${name}.jsonl`, documents.map((text) => JSON.stringify({ text })).join('\n'))
  const { folder } = await tokenizeCorpus({
    sources: [source],
    out: files.path(name),
    tokenizer: small,
    tokenizerIdentity: 'letters',
    punctuation: letterPunctuation,
    shardTokens,
  })
  return folder
}

const FABLE = ['a fox saw grapes, ripe and high.', 'it leapt.', 'it missed. "they are sour," said the fox, and left.', 'so do we.']

test('shards give the same rows as the same text in memory, however they are cut', async () => {
  const documents = fc.array(
    fc.array(fc.constantFrom('a', 'b', 'c', '.'), { minLength: 1, maxLength: 30 }).map((letters) => letters.join('')),
    { minLength: 1, maxLength: 8 },
  )
  let made = 0
  await fc.assert(
    fc.asyncProperty(
      documents,
      fc.integer({ min: 1, max: 60 }),
      fc.integer({ min: 3, max: 40 }),
      fc.nat(),
      async (texts, shardTokens, tokens, seed) => {
        const data = await ShardedDataset.open(await corpus(`corpus${made++}`, texts, shardTokens))
        const memory = new TextDataset(
          texts.map((text) => small.encode(text)),
          0,
        )
        expect([data.totalTokens, data.totalDocuments, data.largestId]).toEqual([
          memory.totalTokens,
          memory.totalDocuments,
          memory.largestId,
        ])
        const options = { sequenceTokens: tokens, seed }
        const [left, right] = [data.rows(options), memory.rows(options)]
        for (let index = 0; index < 12; index++) expect(left.row(index)).toEqual(right.row(index))
        data.close()
      },
    ),
    { numRuns: 12 },
  )
})

test('the fingerprint names the content, and rows go on after a close', async () => {
  const [one, same, other] = [await corpus('one', FABLE), await corpus('same', FABLE), await corpus('other', FABLE.slice(1))]
  const sets = await Promise.all([one, same, other].map((folder) => ShardedDataset.open(folder)))
  expect(sets[0].fingerprint).toBe(sets[1].fingerprint)
  expect(sets[0].fingerprint).not.toBe(sets[2].fingerprint)
  const rows = sets[0].rows({ sequenceTokens: 9, seed: 1 })
  const before = rows.row(3)
  sets[0].close()
  expect(rows.row(3)).toEqual(before)
  for (const set of sets) set.close()
})

test('more shards than are kept open at once are read all the same', async () => {
  const texts = Array.from({ length: 70 }, (_, index) => `${'abcdefghij'[index % 10]}${'klmnopqrst'[Math.floor(index / 10) % 10]}u`)
  const data = await ShardedDataset.open(await corpus('many', texts, 1))
  expect(data.manifest.shards.length).toBe(70)
  const memory = new TextDataset(
    texts.map((text) => small.encode(text)),
    0,
  )
  const options = { sequenceTokens: 60, seed: 2 }
  for (let index = 0; index < 30; index++) expect(data.rows(options).row(index)).toEqual(memory.rows(options).row(index))
  data.close()
})

/** A copy of a corpus, damaged. */
async function damaged(name: string, damage: (folder: string) => Promise<void>): Promise<string> {
  const folder = files.path(name)
  await cp(await corpus('whole', FABLE), folder, { recursive: true })
  await damage(folder)
  return folder
}

async function changeManifest(folder: string, change: (manifest: TokenManifest) => object): Promise<void> {
  const path = join(folder, 'manifest.json')
  await writeFile(path, JSON.stringify(change(JSON.parse(await readFile(path, 'utf8')))))
}

async function flip(path: string): Promise<void> {
  const bytes = await readFile(path)
  bytes[2] ^= 1
  await writeFile(path, bytes)
}

test.each<[what: string, damage: (folder: string) => Promise<void>, message: RegExp]>([
  ['a short shard', (folder) => truncate(join(folder, 'tokens-00001.bin'), 4), /tokens-00001\.bin has 4 bytes, its manifest says/],
  ['a missing shard', (folder) => rm(join(folder, 'tokens-00000.bin')), /tokens-00000\.bin is missing/],
  ['a changed id', (folder) => flip(join(folder, 'tokens-00001.bin')), /tokens-00001\.bin is damaged: its hash/],
  ['a changed border', (folder) => flip(join(folder, 'lengths-00000.bin')), /lengths-00000\.bin is damaged: its hash/],
  ['no manifest', (folder) => rm(join(folder, 'manifest.json')), /manifest\.json is no manifest of tokenized data .*ENOENT/],
  ['half a manifest', (folder) => truncate(join(folder, 'manifest.json'), 100), /manifest\.json is no manifest of tokenized data/],
  [
    'a later version',
    (folder) => changeManifest(folder, (manifest) => ({ ...manifest, version: 2 })),
    /its version is 2, this package reads 1/,
  ],
  ['a wrong count', (folder) => changeManifest(folder, (manifest) => ({ ...manifest, tokens: 7 })), /do not hold 7 tokens/],
  ['no shards', (folder) => changeManifest(folder, (manifest) => ({ ...manifest, shards: [] })), /lists no shards/],
  [
    'a file elsewhere',
    (folder) =>
      changeManifest(folder, ({ shards, ...manifest }) => ({
        ...manifest,
        shards: shards.map(({ tokens, lengths }) => ({ tokens: { ...tokens, file: '../tokens-00000.bin' }, lengths })),
      })),
    /a shard has the tokens/,
  ],
  [
    'shards in another order',
    (folder) =>
      changeManifest(folder, ({ shards, ...manifest }) => ({
        ...manifest,
        shards: shards.map(({ tokens }, index) => ({ tokens, lengths: shards[shards.length - 1 - index].lengths })),
      })),
    /do not add up to tokens-00000\.bin/,
  ],
])('finds %s when it is opened', async (_, damage, message) => {
  await expect(ShardedDataset.open(await damaged('copy', damage))).rejects.toThrow(message)
})

test('ids are hashed unless told otherwise, with progress', async () => {
  const folder = await damaged('copy', (copy) => flip(join(copy, 'tokens-00000.bin')))
  const data = await ShardedDataset.open(folder, { verify: false })
  expect(data.totalDocuments).toBe(FABLE.length)
  const seen: number[] = []
  const whole = await ShardedDataset.open(files.path('whole'), {
    onProgress: ({ doneBytes, totalBytes }) => seen.push(doneBytes / totalBytes),
  })
  expect(seen.at(-1)).toBe(1)
  await expect(ShardedDataset.open(files.path('whole'), { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough')
  await truncate(join(folder, 'tokens-00000.bin'), 0)
  expect(() => data.rows({ sequenceTokens: 100, seed: 0 }).row(0)).toThrow(/tokens-00000\.bin ended while it was read/)
  for (const set of [data, whole]) set.close()
})

test('says no to the tokens of another tokenizer or punctuation', async () => {
  const folder = await corpus('tokens', FABLE)
  await ShardedDataset.open(folder, { tokenizer: 'letters', punctuation: letterPunctuation })
  await expect(ShardedDataset.open(folder, { tokenizer: 'digits' })).rejects.toThrow(
    /was tokenized with the tokenizer letters, this run has digits/,
  )
  const stops = new PunctuationTable(new Map([[28, '.']]), 30)
  await expect(ShardedDataset.open(folder, { punctuation: stops })).rejects.toThrow(/was tokenized with the punctuation sha256:/)
})

test('a model trains on shards as on the same text in memory', async () => {
  const losses = async (data: ShardedDataset | TextDataset) => {
    const run = { data, punctuation: letterPunctuation, steps: 3, batch: { sequences: 2, tokens: 24 } }
    const seen: number[] = []
    for await (const { loss } of createTrainer({ ...run, model: await tinyModel() })) seen.push(loss)
    return seen
  }
  const data = await ShardedDataset.open(await corpus('tokens', FABLE))
  const memory = new TextDataset(
    FABLE.map((text) => small.encode(text)),
    0,
  )
  expect(await losses(data)).toEqual(await losses(memory))
  data.close()
})
