import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { DocumentTokenizer } from '../../src/data/document-tokenizer.js'
import { splitDocuments } from '../../src/data/split-documents.js'
import { TextDataset } from '../../src/data/text-dataset.js'

const SEPARATOR = 0

/** Documents whose tokens are all different, so that each can be followed through the packing. */
function numberedDocuments(lengths: readonly number[]): number[][] {
  let next = 1
  return lengths.map((length) => Array.from({ length }, () => next++))
}

const packings = fc.record({
  lengths: fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 12 }),
  sequenceTokens: fc.integer({ min: 3, max: 50 }),
  seed: fc.integer({ min: 0, max: 2 ** 31 }),
})

test('whole epochs hold every token exactly once each', () => {
  fc.assert(
    fc.property(packings, ({ lengths, sequenceTokens, seed }) => {
      const documents = numberedDocuments(lengths)
      const data = new TextDataset(documents, SEPARATOR)
      const rows = data.rows({ sequenceTokens, seed })
      // After sequenceTokens epochs, the stream ends exactly at a row's end.
      const count = rows.rowsBefore(sequenceTokens)
      expect(count).toBe(data.totalTokens)
      const seen = new Map<number, number>()
      for (let index = 0; index < count; index++) {
        for (const token of rows.row(index).sequences.flatMap((sequence) => [...sequence])) seen.set(token, (seen.get(token) ?? 0) + 1)
      }
      expect(seen.get(SEPARATOR)).toBe(documents.length * sequenceTokens)
      for (const token of documents.flat()) expect(seen.get(token)).toBe(sequenceTokens)
    }),
    { numRuns: 40 },
  )
})

test('a row has exactly its length, and each of its sequences is a run of one document', () => {
  fc.assert(
    fc.property(packings, ({ lengths, sequenceTokens, seed }) => {
      const documents = numberedDocuments(lengths)
      const rows = new TextDataset(documents, SEPARATOR).rows({ sequenceTokens, seed })
      for (let index = 0; index < 20; index++) {
        const { sequences } = rows.row(index)
        expect(sequences.reduce((total, sequence) => total + sequence.length, 0)).toBe(sequenceTokens)
        for (const [place, sequence] of sequences.entries()) {
          const text = `,${[...sequence].join(',')},`
          expect(documents.some((document) => `,${[...document, SEPARATOR].join(',')},`.includes(text))).toBe(true)
          // Only a row's borders cut a document.
          if (place < sequences.length - 1) expect(sequence.at(-1)).toBe(SEPARATOR)
          if (place > 0) expect(documents.some((document) => document[0] === sequence[0])).toBe(true)
        }
      }
    }),
    { numRuns: 60 },
  )
})

test('the same seed gives the same rows in whatever order they are asked for; another seed another order', () => {
  const data = new TextDataset(numberedDocuments(Array.from({ length: 30 }, (_, index) => 5 + index)), SEPARATOR)
  const read = (seed: number, indices: readonly number[]) => {
    const rows = data.rows({ sequenceTokens: 16, seed })
    return new Map(indices.map((index) => [index, rows.row(index).sequences.map((sequence) => [...sequence])]))
  }
  const indices = Array.from({ length: 100 }, (_, index) => index)
  const forwards = read(3, indices)
  const backwards = read(3, [...indices].reverse())
  for (const index of indices) expect(backwards.get(index)).toEqual(forwards.get(index))
  expect([...read(4, indices).values()]).not.toEqual([...forwards.values()])
})

test('epochs differ in their order', () => {
  const data = new TextDataset(numberedDocuments([7, 7, 7, 7, 7, 7, 7, 7]), SEPARATOR)
  const rows = data.rows({ sequenceTokens: 8, seed: 1 })
  const epoch = (first: number) => Array.from({ length: 8 }, (_, index) => rows.row(first + index).sequences[0][0])
  expect([...epoch(0)].sort()).toEqual([...epoch(8)].sort())
  expect(epoch(0)).not.toEqual(epoch(8))
})

test('a text shorter than a row fills it by repetition, each copy a sequence', () => {
  const rows = new TextDataset([[5, 6]], SEPARATOR).rows({ sequenceTokens: 7, seed: 0 })
  expect(rows.row(0).sequences.map((sequence) => [...sequence])).toEqual([[5, 6, 0], [5, 6, 0], [5]])
  expect(rows.row(1).sequences.map((sequence) => [...sequence])).toEqual([
    [6, 0],
    [5, 6, 0],
    [5, 6],
  ])
})

test('says no to rows of one token and to data without tokens', () => {
  expect(() => new TextDataset([[1]], 0).rows({ sequenceTokens: 2, seed: 0 })).toThrow('at least 3')
  expect(() => new TextDataset([], 0).rows({ sequenceTokens: 4, seed: 0 })).toThrow('no token')
})

test('two blank lines separate documents, one does not', () => {
  expect(splitDocuments('One.\n\nStill one.\n\n\nTwo.\r\n\r\n\r\n  \r\nThree.\n')).toEqual(['One.\n\nStill one.', 'Two.', 'Three.'])
})

test('tokenizing tells how far it is and puts the separator after each document', async () => {
  const progress: number[] = []
  const data = await TextDataset.fromText(
    'ab\n\n\ncde',
    { encode: (text) => Array.from(text, (letter) => letter.charCodeAt(0)), eosTokenId: 1 },
    { onProgress: ({ documents, totalDocuments, tokens }) => progress.push(documents, totalDocuments, tokens) },
  )
  expect(progress).toEqual([1, 2, 3, 2, 2, 7])
  expect([data.totalDocuments, data.totalTokens]).toEqual([2, 7])
  await expect(TextDataset.fromText('a', { encode: () => [1, 2] })).rejects.toThrow('separatorId')
  await expect(TextDataset.fromText('\n\n', { encode: () => [1] }, { separatorId: 0 })).rejects.toThrow('no document')
})

test('takes <|endoftext|> as the separator only where its id decodes back to it', async () => {
  const separatorOf = async (tokenizer: DocumentTokenizer) => {
    const data = await TextDataset.fromText('a', tokenizer)
    return data.rows({ sequenceTokens: 3, seed: 0 }).row(0).sequences[0].at(-1)
  }
  const encode = (text: string) => (text === 'a' ? [5] : [7])
  expect(await separatorOf({ encode, decode: () => '<|endoftext|>', eosTokenId: 3 })).toBe(7)
  expect(await separatorOf({ encode, decode: () => '<unk>', eosTokenId: 3 })).toBe(3)
  expect(await separatorOf({ encode, eosTokenId: 3 })).toBe(3)
  await expect(separatorOf({ encode, decode: () => '<unk>' })).rejects.toThrow('separatorId')
  await expect(separatorOf({ encode })).rejects.toThrow('separatorId')
})
