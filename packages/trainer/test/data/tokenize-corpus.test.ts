import { appendFileSync } from 'node:fs'
import { copyFile, mkdir, readdir, readFile, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { PunctuationTable } from '@phsa/core'
import { expect, test } from 'vitest'
import type { DocumentTokenizer } from '../../src/data/document-tokenizer.js'
import { punctuationIdentity, tokenizerIdentity } from '../../src/data/identities.js'
import { ShardedDataset } from '../../src/data/sharded-dataset.js'
import { readManifest } from '../../src/data/token-manifest.js'
import { type CorpusProgress, type TokenizeCorpusOptions, tokenizeCorpus } from '../../src/data/tokenize-corpus.js'
import { letterPunctuation, letterTokenizer } from '../tiny-model.js'
import { temporaryFiles } from './temporary-files.js'

const files = temporaryFiles()

const small: DocumentTokenizer = { ...letterTokenizer, vocabSize: 30 }

async function options(more: Partial<TokenizeCorpusOptions> = {}): Promise<TokenizeCorpusOptions> {
  const sources = more.sources ?? [
    await files.write('a.jsonl', '{"text":"one fox, one grape."}\n{"text":""}\n{"text":"two."}\n'),
    await files.write('b.txt', 'three.\n\n\nfour foxes saw five.'),
  ]
  return { sources, out: files.path('tokens'), tokenizer: small, tokenizerIdentity: 'letters', ...more }
}

test('writes shards of whole documents and a manifest that says what they are', async () => {
  const progress: CorpusProgress[] = []
  const given = await options({ shardTokens: 20, punctuation: letterPunctuation, onProgress: (event) => progress.push(event) })
  const { manifest, reused, folder } = await tokenizeCorpus(given)
  expect([reused, folder]).toEqual([false, given.out])
  expect(await readManifest(folder)).toEqual(manifest)
  expect(manifest).toMatchObject({
    format: 'phsa-tokens',
    version: 1,
    tokenizer: 'letters',
    punctuation: punctuationIdentity(letterPunctuation),
    separatorId: 0,
    dtype: 'uint16',
    documents: 4,
    tokens: 20 + 5 + 7 + 21,
    largestId: 29,
    badRecords: { count: 1, listed: [{ reason: 'it is empty', position: { file: 'a.jsonl', line: 2 } }] },
    sources: [
      { name: 'a.jsonl', bytes: 59 },
      { name: 'b.txt', bytes: 29 },
    ],
  })
  expect(manifest.shards.map(({ tokens, lengths }) => [tokens.bytes / 2, lengths.bytes / 4])).toEqual([
    [20, 1],
    [33, 3],
  ])
  expect((await readdir(folder)).sort()).toEqual([
    'lengths-00000.bin',
    'lengths-00001.bin',
    'manifest.json',
    'tokens-00000.bin',
    'tokens-00001.bin',
  ])
  const bytes = await readFile(join(folder, 'tokens-00000.bin'))
  const ids = Array.from({ length: bytes.length / 2 }, (_, place) => bytes.readUInt16LE(place * 2))
  expect(ids).toEqual([...Array.from(small.encode('one fox, one grape.')), 0])
  expect(await readdir(dirname(folder))).toEqual(['a.jsonl', 'b.txt', 'tokens'])

  const last = progress.at(-1)!
  expect(last).toMatchObject({ stage: 'tokenizing', documents: 4, tokens: 53, badRecords: 1, totalBytes: 88 })
  expect(progress[0].stage).toBe('hashing')
  for (const { doneBytes, secondsLeft = 0, tokensPerSecond } of progress) {
    expect(doneBytes).toBeLessThanOrEqual(88)
    expect([secondsLeft >= 0, tokensPerSecond >= 0]).toEqual([true, true])
  }
})

test('ids that two bytes do not hold, or a vocabulary that is not known, take four', async () => {
  const large = { encode: () => [70_000, 1], eosTokenId: 5, vocabSize: 70_001 }
  const { manifest, folder } = await tokenizeCorpus(await options({ tokenizer: large }))
  expect([manifest.dtype, manifest.largestId]).toEqual(['uint32', 70_000])
  const data = await ShardedDataset.open(folder)
  expect([...data.rows({ sequenceTokens: 3, seed: 0 }).row(0).sequences[0]]).toEqual([70_000, 1, 5])
  data.close()
  expect((await tokenizeCorpus(await options({ out: files.path('unknown'), tokenizer: letterTokenizer }))).manifest.dtype).toBe('uint32')
  const wrong = { ...large, vocabSize: 100 }
  await expect(tokenizeCorpus(await options({ out: files.path('wrong'), tokenizer: wrong }))).rejects.toThrow(/the id 70000/)
})

test('what is there already is taken, also when its sources were copied; anything else is refused with what differs', async () => {
  const given = await options()
  const { manifest } = await tokenizeCorpus(given)
  const again = await tokenizeCorpus(given)
  expect([again.reused, again.manifest]).toEqual([true, manifest])

  const copies = await Promise.all(
    given.sources.map(async (source) => {
      const copy = files.path(`copies/${source.split('/').at(-1)}`)
      await mkdir(dirname(copy), { recursive: true })
      await copyFile(source, copy)
      await utimes(copy, 1, 1)
      return copy
    }),
  )
  expect((await tokenizeCorpus({ ...given, sources: copies })).reused).toBe(true)
  await writeFile(copies[1], 'three.\n\n\nfour foxes saw nine.')
  await expect(tokenizeCorpus({ ...given, sources: copies })).rejects.toThrow(/b\.txt has another content\. Give another folder/)
  await writeFile(copies[1], 'three.')
  await expect(tokenizeCorpus({ ...given, sources: copies })).rejects.toThrow(/b\.txt has 29 bytes there and 6 here/)

  const differing: [Partial<TokenizeCorpusOptions>, RegExp][] = [
    [{ tokenizerIdentity: 'digits' }, /the tokenizer is letters there and digits here/],
    [{ separatorId: 3 }, /the separator is 0 there and 3 here/],
    [{ textField: 'body' }, /the text field is text there and body here/],
    [{ punctuation: letterPunctuation }, /the punctuation is not named there and sha256:/],
    [{ sources: given.sources.slice(1) }, /the number of sources is 2 there and 1 here/],
    [{ sources: [...given.sources].reverse() }, /source 1 is a\.jsonl there and b\.txt here/],
  ]
  for (const [more, message] of differing) await expect(tokenizeCorpus({ ...given, ...more })).rejects.toThrow(message)
  await writeFile(join(given.out, 'tokens-00000.bin'), 'short')
  await expect(tokenizeCorpus(given)).rejects.toThrow(/tokens-00000\.bin has 5 bytes, its manifest says/)
})

test('writes only into new or empty folders', async () => {
  await mkdir(files.path('tokens'))
  expect((await tokenizeCorpus(await options())).reused).toBe(false)
  await expect(tokenizeCorpus(await options({ out: dirname(files.path('tokens')) }))).rejects.toThrow(/holds other things/)
  await expect(tokenizeCorpus(await options({ out: files.path('b.txt') }))).rejects.toThrow(/is a file; give a folder/)
})

test('two that tokenize the same into one folder at once share it; one of something else is refused', async () => {
  const given = await options()
  const made = await Promise.all([tokenizeCorpus(given), tokenizeCorpus(given)])
  expect(made.map(({ reused }) => reused).sort()).toEqual([false, true])
  expect(made[0].manifest).toEqual(made[1].manifest)

  const shared = { ...given, out: files.path('other') }
  const results = await Promise.allSettled([tokenizeCorpus(shared), tokenizeCorpus({ ...shared, tokenizerIdentity: 'others' })])
  const [refused] = results.filter(({ status }) => status === 'rejected')
  expect(String((refused as PromiseRejectedResult).reason)).toContain('holds the tokens of something else: the tokenizer is')
  expect((await readdir(dirname(shared.out))).filter((name) => name.includes('.tmp-'))).toEqual([])
})

test('the progress through a parquet file is that of its rows', async () => {
  const columnData = [{ name: 'text', data: ['one fox.', 'two foxes.', 'a grape.', 'four.'], type: 'STRING' as const }]
  const source = await files.parquet('rows.parquet', columnData)
  const shares: number[] = []
  const onProgress = ({ stage, doneBytes, totalBytes }: CorpusProgress) => {
    if (stage === 'tokenizing') shares.push(doneBytes / totalBytes)
  }
  await tokenizeCorpus(await options({ sources: [source], onProgress }))
  expect(shares.map((share) => share.toFixed(2))).toEqual(['0.25', '0.50', '0.75', '1.00'])
})

test('a signal stops between two documents and leaves nothing', async () => {
  const stop = new AbortController()
  const given = await options({
    signal: stop.signal,
    onProgress: ({ documents }) => {
      if (documents === 2) stop.abort(new Error('enough'))
    },
  })
  await expect(tokenizeCorpus(given)).rejects.toThrow('enough')
  expect(await readdir(dirname(given.out))).toEqual(['a.jsonl', 'b.txt'])
})

test('errors leave nothing: no document, a bad record that is fatal, a source that changes', async () => {
  const given = await options()
  const empty = await files.write('empty.jsonl', '{"text":""}\n{"body":"x"}\n')
  await expect(tokenizeCorpus({ ...given, sources: [empty] })).rejects.toThrow(
    /empty\.jsonl held no document; bad records: 2, such as .*empty\.jsonl line 1: it is empty; .*line 2: it has no field "text"/,
  )
  await expect(tokenizeCorpus({ ...given, onBadRecord: 'fail' })).rejects.toThrow(/a\.jsonl line 2 is no document: it is empty/)
  const silent = { encode: () => [], eosTokenId: 0 }
  await expect(tokenizeCorpus({ ...given, tokenizer: silent })).rejects.toThrow(/makes no token of it/)
  const full = { concurrency: 1, encode: async () => fail(Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })) }
  await expect(tokenizeCorpus({ ...given, encoder: full })).rejects.toThrow(
    /could not be written to .*no space left.*nothing is left of them/,
  )
  const growing = { ...small, encode: (text: string) => changeSource(given.sources[1], small.encode(text)) }
  await expect(tokenizeCorpus({ ...given, tokenizer: growing })).rejects.toThrow(/b\.txt changed while it was tokenized/)
  expect(await readdir(dirname(given.out))).toEqual(['a.jsonl', 'b.txt', 'empty.jsonl'])
})

test('an encoder elsewhere gives the same shards, whichever document is ready first, and its errors', async () => {
  const given = await options()
  const { manifest } = await tokenizeCorpus(given)
  let underWay = 0
  const seen: number[] = []
  const encoder = {
    concurrency: 3,
    async encode(text: string) {
      seen.push(++underWay)
      await setTimeout(text.length % 4)
      underWay--
      if (text === 'two.') await setTimeout(5)
      return small.encode(text)
    },
  }
  const other = await tokenizeCorpus({ ...given, out: files.path('elsewhere'), encoder })
  expect(other.manifest).toEqual(manifest)
  expect(Math.max(...seen)).toBeGreaterThan(1)
  expect(Math.max(...seen)).toBeLessThanOrEqual(3)
  const broken = { concurrency: 3, encode: async () => Promise.reject(new Error('no memory')) }
  await expect(tokenizeCorpus({ ...given, out: files.path('broken'), encoder: broken })).rejects.toThrow('no memory')
})

test('what a killed process left is removed, what a living one writes stays', async () => {
  const given = await options()
  // Above any id that a system gives.
  const dead = `.tokens.tmp-${hostname()}-999999999-01234567`
  const living = `.tokens.tmp-${hostname()}-${process.ppid}-01234567`
  for (const name of [dead, living]) await files.write(`${name}/tokens-00000.bin`, 'half')
  await tokenizeCorpus(given)
  const names = await readdir(dirname(given.out))
  expect([names.includes(dead), names.includes(living)]).toEqual([false, true])
})

test('a tokenizer is named by its bytes, punctuation by its tokens', async () => {
  const path = await files.write('model/tokenizer.json', '{}')
  const identity = await tokenizerIdentity(path)
  expect(identity).toBe('sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a')
  expect(await tokenizerIdentity(dirname(path))).toBe(identity)
  const marks = (text: string, size: number) => punctuationIdentity(new PunctuationTable(new Map([[1, text]]), size))
  expect(marks('.', 4)).toBe(marks('.', 9))
  expect(marks('.', 4)).not.toBe(marks(',', 4))
})

function fail(error: Error): never {
  throw error
}

function changeSource<T>(path: string, result: T): T {
  appendFileSync(path, ' more')
  return result
}
