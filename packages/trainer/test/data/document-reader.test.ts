import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { splitOf } from '../../src/data/dataset-split.js'
import { DocumentReader, type ReadOptions } from '../../src/data/document-reader.js'
import { describePosition, TOO_LONG } from '../../src/data/document-record.js'
import { readLines } from '../../src/data/read-lines.js'
import { DocumentSplitter, splitDocuments } from '../../src/data/split-documents.js'
import { TextDataset, type TokenizeProgress } from '../../src/data/text-dataset.js'
import { letterData, letterTokenizer } from '../tiny-model.js'
import { temporaryFiles } from './temporary-files.js'

const files = temporaryFiles()

/** Documents as `place text`, the place from the file's name on. */
async function read(sources: readonly string[], options?: ReadOptions) {
  const reader = await DocumentReader.open(sources, options)
  const documents: string[] = []
  for await (const { text, position } of reader) {
    documents.push(`${describePosition(position).split('/').at(-1)}: ${text}`)
    expect(reader.doneBytes).toBeLessThanOrEqual(reader.totalBytes)
  }
  expect(reader.doneBytes).toBe(reader.totalBytes)
  const bad = reader.badRecords.listed.map(({ position, reason }) => `${describePosition(position).split('/').at(-1)}: ${reason}`)
  return { documents, bad, count: reader.badRecords.count }
}

test('a text file is documents with two blank lines between, plain or zipped', async () => {
  const text = '\ufeffOne.\n\nStill one.\n\n\n\nTwo.\r\n\r\n \r\nThree, ünd the end'
  const expected = ['line 1: One.\n\nStill one.', 'line 7: Two.', 'line 10: Three, ünd the end']
  const plain = await files.write('a.txt', text)
  const zipped = await files.write('b.txt.gz', text)
  const { documents } = await read([plain, zipped])
  expect(documents).toEqual([...expected.map((line) => `a.txt ${line}`), ...expected.map((line) => `b.txt.gz ${line}`)])
})

test('a text read from a file is cut as the same text in memory, wherever pieces of the file end', async () => {
  const pieces = fc.constantFrom('a', 'bé', ' ', '\t', '\n', '\n', '\n\n\n', '\r\n', '\u2028', '漢')
  const texts = fc.array(pieces, { maxLength: 40 }).map((parts) => parts.join(''))
  await fc.assert(
    fc.asyncProperty(texts, async (text) => {
      const { documents } = await read([await files.write('a.txt', text)])
      expect(documents.map((line) => line.replace(/^a\.txt line \d+: /, ''))).toEqual(splitDocuments(text))
    }),
    { numRuns: 60 },
  )
  const long = `${'é'.repeat(300_001)}\n\n\n${'é'.repeat(7)}`
  const { documents } = await read([await files.write('long.txt', long)])
  expect(documents.map(({ length }) => length - 'long.txt line 1: '.length)).toEqual([300_001, 7])
})

test('text that is no UTF-8 is a bad record, with its line; the others stay', async () => {
  const path = await files.write(
    'a.txt',
    Buffer.concat([Buffer.from('One.\n\n\nTwo\n'), Buffer.from([0x66, 0xff]), Buffer.from('\n\n\nThree.')]),
  )
  const { documents, bad, count } = await read([path])
  expect(documents).toEqual(['a.txt line 1: One.', 'a.txt line 8: Three.'])
  expect(bad).toEqual(['a.txt line 4: line 5: it is no valid UTF-8'])
  expect(count).toBe(1)
})

const RECORDS = [
  '{"text": "One.\\n\\n\\nOne."}',
  '',
  '{"title": "x", "body": "y"}',
  '{"text": 5}',
  '{"text": null}',
  '{"text": ["a"]}',
  '{"text": " "}',
  '{"text": "half \\ud800"}',
  '{"text": "broken',
  '["text"]',
  '{"text": "Two.", "title": "z"}',
]

test('bad records of JSONL are counted and listed with their lines', async () => {
  const path = await files.write('a.jsonl.gz', RECORDS.join('\n'))
  const { documents, bad, count } = await read([path])
  expect(documents).toEqual(['a.jsonl.gz line 1: One.\n\n\nOne.', 'a.jsonl.gz line 11: Two.'])
  expect(bad.map((line) => line.replace(/\(.*\)/, '(why)'))).toEqual([
    'a.jsonl.gz line 3: it has no field "text", but title, body',
    'a.jsonl.gz line 4: its field "text" is of type number, not text',
    'a.jsonl.gz line 5: its field "text" is null, not text',
    'a.jsonl.gz line 6: its field "text" is a list, not text',
    'a.jsonl.gz line 7: it is empty',
    'a.jsonl.gz line 8: it has half a surrogate pair',
    'a.jsonl.gz line 9: it is no valid JSON (why)',
    'a.jsonl.gz line 10: it is no JSON object',
  ])
  expect(count).toBe(8)
  const short = await read([path], { listedBadRecords: 2 })
  expect([short.bad.length, short.count]).toEqual([2, 8])
  expect((await read([path], { textField: 'title' })).documents).toEqual(['a.jsonl.gz line 3: x', 'a.jsonl.gz line 11: z'])
  await expect(read([path], { onBadRecord: 'fail' })).rejects.toThrow(/a\.jsonl\.gz line 3 is no document: it has no field "text"/)
})

test('parquet of several row groups gives its text column row by row', async () => {
  const texts = Array.from({ length: 25 }, (_, index) => (index === 7 ? null : index === 12 ? '' : `Document ${index}, é.`))
  const columns = [
    { name: 'id', data: texts.map((_, index) => index), type: 'INT32' as const },
    { name: 'text', data: texts, type: 'STRING' as const },
  ]
  for (const codec of ['SNAPPY', 'UNCOMPRESSED'] as const) {
    const path = await files.parquet('a.parquet', columns, { codec, rowGroupSize: 10 })
    const { documents, bad } = await read([path])
    expect(documents).toEqual(texts.flatMap((text, index) => (text ? [`a.parquet row ${index}: ${text}`] : [])))
    expect(bad).toEqual(['a.parquet row 7: its field "text" is null, not text', 'a.parquet row 12: it is empty'])
  }
  await expect(read([files.path('a.parquet')], { textField: 'body' })).rejects.toThrow(/no column "body", but id, text/)
  expect((await read([files.path('a.parquet')], { textField: 'id' })).bad[3]).toBe(
    'a.parquet row 3: its field "id" is of type number, not text',
  )
})

test('parquet as other tools write it, here pyarrow with zstd', async () => {
  const { documents, bad } = await read([fileURLToPath(new URL('zstd.parquet', import.meta.url))])
  expect(documents).toEqual(['zstd.parquet row 0: One fox.', 'zstd.parquet row 2: Two grapes, é.'])
  expect(bad).toEqual(['zstd.parquet row 1: its field "text" is null, not text'])
})

test('bytes of a parquet column that are no UTF-8 are a bad record', async () => {
  const data = [Uint8Array.from([0x61, 0xc3, 0xa9]), Uint8Array.from([0x61, 0xff])]
  const path = await files.parquet('a.parquet', [{ name: 'text', data, type: 'BYTE_ARRAY' }])
  const { documents, bad } = await read([path])
  expect([documents, bad]).toEqual([['a.parquet row 0: aé'], ['a.parquet row 1: it is no valid UTF-8']])
})

test('files that are damaged end the reading, whatever bad records do', async () => {
  const text = await files.write('a.txt.gz', Array.from({ length: 3000 }, (_, index) => `Line ${index * 7919}.`).join('\n\n\n'))
  await writeFile(text, (await readFile(text)).subarray(0, -20))
  await expect(read([text])).rejects.toThrow(/a\.txt\.gz cannot be unzipped/)
  await writeFile(text, 'plain')
  await expect(read([text])).rejects.toThrow(/a\.txt\.gz cannot be unzipped.*rename it if it is plain/)

  const parquet = await files.parquet('a.parquet', [{ name: 'text', data: ['One.', 'Two.'], type: 'STRING' }])
  const whole = await readFile(parquet)
  await writeFile(parquet, whole.subarray(0, -9))
  await expect(read([parquet])).rejects.toThrow(/a\.parquet cannot be read as parquet/)
  // The footer is whole, what it points to is not.
  await writeFile(parquet, Buffer.concat([whole.subarray(0, 4), Buffer.alloc(20, 0xff), whole.subarray(24)]))
  await expect(read([parquet])).rejects.toThrow(/a\.parquet cannot be read as parquet/)
  await expect(read([files.path('none.txt')])).rejects.toThrow(/ENOENT/)
})

test('a dataset folder is its files of one split, by name', async () => {
  for (const part of [2, 0, 1]) {
    await files.parquet(`set/data/train-0000${part}-of-00003.parquet`, [{ name: 'text', data: [`Part ${part}.`], type: 'STRING' }])
  }
  await files.write('set/data/validation-00000-of-00001.jsonl', '{"text":"Held out."}')
  await files.write('set/README.md', '# Not data')
  await files.write('set/.cache/train.txt', 'Not data.')
  const reader = await DocumentReader.open([files.path('set')])
  expect(reader.files.map(({ name }) => name)).toEqual([0, 1, 2].map((part) => `set/data/train-0000${part}-of-00003.parquet`))
  const { documents } = await read([files.path('set')])
  expect(documents.map((line) => line.split(': ')[1])).toEqual(['Part 0.', 'Part 1.', 'Part 2.'])
  expect((await read([`${files.path('set')}/`], { split: 'validation' })).documents).toEqual([
    'validation-00000-of-00001.jsonl line 1: Held out.',
  ])
  await expect(read([files.path('set')], { split: 'test' })).rejects.toThrow(/no split "test", but train, validation/)
  await mkdir(files.path('empty'))
  await expect(read([files.path('empty')])).rejects.toThrow(/holds no file of documents/)
})

test.each([
  ['train.jsonl', 'train'],
  ['data/train-00000-of-00003.parquet', 'train'],
  ['data/train_sft-00000-of-00003.parquet', 'train_sft'],
  ['dev.txt', 'validation'],
  ['valid/part-1.txt', 'validation'],
  ['data-test.jsonl', 'test'],
  ['train/test.jsonl', 'test'],
  ['book.txt', 'train'],
  ['contest.txt', 'train'],
])('%s is of the split %s', (path, split) => expect(splitOf(path)).toBe(split))

test('says no to what it does not know', async () => {
  await expect(read([await files.write('a.csv', 'text')])).rejects.toThrow(/a\.csv is of no known kind; files end in \.txt/)
  await expect(read([])).rejects.toThrow(/no source is given/)
  await expect(read([await files.write('a.txt', 'x')], { onBadRecord: 'ignore' as 'skip' })).rejects.toThrow(/'skip' or 'fail'/)
  const reader = await DocumentReader.open([await files.write('a.txt', 'x')])
  for await (const _ of reader) expect(reader.badRecords.count).toBe(0)
  await expect(reader[Symbol.asyncIterator]().next()).rejects.toThrow(/read already/)
})

test('zipped files of several members are read to their end', async () => {
  const path = await files.write('a.jsonl.gz', '{"text":"One."}\n')
  await appendFile(path, gzipSync('{"text":"Two."}\n'))
  expect((await read([path])).documents).toEqual(['a.jsonl.gz line 1: One.', 'a.jsonl.gz line 2: Two.'])
})

test('lines and documents that are too long are bad records, and are not kept', async () => {
  const path = await files.write('a.txt', 'short\n0123456789\nend')
  const lines: unknown[] = []
  for await (const line of readLines(path, () => {}, 9)) lines.push(line.text ?? line.fault)
  expect(lines).toEqual(['short', TOO_LONG, 'end'])
  const splitter = new DocumentSplitter('a.txt', 9)
  const records = ['one', 'two', 'three', '', '', 'four'].map((text, index) => splitter.line({ number: index + 1, text }))
  expect([...records.filter(Boolean), splitter.end()]).toEqual([
    { reason: TOO_LONG, position: { file: 'a.txt', line: 1 } },
    { text: 'four', position: { file: 'a.txt', line: 6 } },
  ])
})

test('documents of files are tokenized in memory as a text is', async () => {
  const path = await files.write('a.txt', 'one.\n\n\ntwo, three.')
  const seen: number[] = []
  const onProgress = ({ documents, tokens }: TokenizeProgress) => seen.push(documents, tokens)
  const data = await TextDataset.fromDocuments(await DocumentReader.open([path]), letterTokenizer, { onProgress })
  expect(data.fingerprint).toBe((await letterData('one.\n\n\ntwo, three.')).fingerprint)
  expect(seen).toEqual([1, 5, 2, 17])
})

test('a signal stops the reading, also among bad records alone', async () => {
  const path = await files.write('a.jsonl', '{}\n{}\n')
  await expect(read([path], { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough')
})
