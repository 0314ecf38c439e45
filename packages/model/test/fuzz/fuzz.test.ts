import { createHash } from 'node:crypto'
import { InvalidConfigError, InvalidFileError, type ModelBackend, reference } from '@phsa/core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { InvalidInputError } from '../../src/index.js'
import { guardAllocations } from './allocation-guard.js'
import { fuzzCase } from './fuzz-case.js'
import { type FuzzCorpus, readCorpus } from './fuzz-corpus.js'
import { judge, runFuzzCase } from './run-fuzz-case.js'

// Much more of the same: npm run soak.
const INPUTS = 600
const SEED = 1

let corpus: FuzzCorpus
let backend: ModelBackend
beforeAll(async () => {
  corpus = readCorpus()
  backend = await reference()
})
afterAll(() => backend.dispose())

test('what is not mutated is taken, by every target and in both forms', async () => {
  for (const files of [corpus.single, corpus.sharded]) {
    expect(await runFuzzCase({ target: 'loadModel', files, mutated: {} }, backend)).toEqual({ kind: 'loaded' })
  }
  for (const target of ['parseSafetensors', 'TextTokenizer', 'parseDecoderConfig', 'PunctuationTable'] as const) {
    expect(await runFuzzCase({ target, files: corpus.single, mutated: {} }, backend)).toEqual({ kind: 'loaded' })
  }
  for (const target of ['TextTokenizer', 'PunctuationTable'] as const) {
    expect(await runFuzzCase({ target, files: corpus.tokenizer, mutated: {} }, backend)).toEqual({ kind: 'loaded' })
  }
})

test('mutated inputs are taken, or refused with an error that names the file', async () => {
  const faults: string[] = []
  const kinds = new Set<string>()
  for (let index = 0; index < INPUTS; index++) {
    const made = fuzzCase(corpus, SEED, index)
    const outcome = await runFuzzCase(made, backend)
    kinds.add(`${made.target} ${outcome.kind}`)
    if (outcome.kind === 'fault') faults.push(`input ${index}: ${outcome.fault}`)
  }
  expect(faults).toEqual([])
  // Both ways everywhere: mutations that always break, or never, would find nothing.
  expect(kinds.size).toBe(10)
})

test('an input is made again from its seed and number', () => {
  const digests = (seed: number) =>
    Array.from({ length: 50 }, (_, index) => {
      const { target, files, mutated } = fuzzCase(corpus, seed, index)
      const hash = createHash('sha256')
      for (const name of Object.keys(mutated)) hash.update(name).update(files[name])
      return `${target} ${hash.digest('hex')}`
    })
  const made = digests(SEED)
  // Whatever was made before it.
  for (let index = 0; index < 500; index++) fuzzCase(corpus, SEED + 2, index)
  expect(digests(SEED)).toEqual(made)
  expect(new Set([...made, ...digests(SEED + 1)]).size).toBe(100)
})

test.each<[string, unknown, string]>([
  ['an error of the language', new TypeError('x is not a function'), 'fault'],
  ['no error', 'text', 'fault'],
  ['an error without a file', new InvalidFileError('it is damaged.'), 'fault'],
  ['an error that names the folder only', new InvalidFileError('fuzzed-folder: it is damaged.'), 'fault'],
  ['an error of a million letters', new InvalidFileError(`fuzzed-folder/config.json: ${'x'.repeat(1e6)}`), 'fault'],
  ['an error that shows undefined', new InvalidFileError('fuzzed-folder/config.json: undefined is no size'), 'fault'],
  ['an error as it must be', new InvalidFileError('fuzzed-folder/config.json: it is not JSON.'), 'refused'],
  ['a missing file', new InvalidFileError('fuzzed-folder: there is no config.json'), 'refused'],
])('%s', (_, error, kind) => {
  expect(judge('loadModel', error).kind).toBe(kind)
})

test('without a file the setting must be named', () => {
  expect(judge('parseDecoderConfig', new InvalidConfigError('vocab_size', 'vocab_size is 0.')).kind).toBe('refused')
  expect(judge('parseDecoderConfig', new InvalidInputError('no.')).kind).toBe('fault')
})

test('tensors that are left behind are a fault', async () => {
  const kept = backend.memory.alloc([1], 'f32')
  expect(await runFuzzCase({ target: 'parseSafetensors', files: corpus.single, mutated: {} }, backend)).toMatchObject({ kind: 'fault' })
  kept.dispose()
})

test('giant arrays are refused and remembered, small ones are not', () => {
  const guard = guardAllocations()
  try {
    expect(new Float32Array(1000)).toHaveLength(1000)
    expect(new Float32Array([1, 2]) instanceof Float32Array).toBe(true)
    expect(guard.taken()).toBeUndefined()
    expect(() => new Float32Array(2 ** 25)).toThrow('new Float32Array(33554432)')
    expect(guard.taken()).toBe('new Float32Array(33554432)')
    expect(guard.taken()).toBeUndefined()
  } finally {
    guard.remove()
  }
  expect(new Float32Array(2 ** 25)).toHaveLength(2 ** 25)
})
