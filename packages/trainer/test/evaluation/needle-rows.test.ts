import { expect, test } from 'vitest'
import { type NeedleRowOptions, needleRows } from '../../src/evaluation/needle-rows.js'
import { textNeedle } from '../../src/evaluation/text-needle.js'
import type { PackedRow, TrainingData } from '../../src/training-data.js'

const TOKENS = 4000
/** A token a byte; the filler's ids lie above them. */
const bytes = { encode: (text: string) => new TextEncoder().encode(text) }
const task = textNeedle(bytes)
const textOf = (ids: Int32Array) => Array.from(ids, (id) => (id < 256 ? String.fromCharCode(id) : '~')).join('')
/** A word of its own for each row, in two sequences, so that filler can be told from facts. */
const prose: TrainingData = {
  fingerprint: 'prose',
  rows: ({ sequenceTokens }) => ({
    row: (index) => ({ sequences: [Int32Array.of(1000 + (index % 7000)), new Int32Array(sequenceTokens - 1).fill(1000 + (index % 7000))] }),
  }),
}

function rowOf(index: number, options: Partial<NeedleRowOptions> = {}, seed = 3): PackedRow {
  return needleRows({ data: prose, task, share: 1, ...options })
    .rows({ sequenceTokens: TOKENS, seed })
    .row(index)
}

/** Facts and questions of a row in their order, with the place where each begins. */
function parse(row: PackedRow) {
  return [...textOf(row.sequences[0]).matchAll(/(What is the code of the .+? \w+\? )?The code of the (.+? \w+) is (\d{5})/g)].map(
    (match) => ({
      place: match.index,
      isQuestion: match[1] !== undefined,
      key: match[2],
      code: match[3],
    }),
  )
}

test('every question stands behind its fact and is answered with its number', () => {
  for (let index = 0; index < 30; index++) {
    const found = parse(rowOf(index))
    const facts = found.filter(({ isQuestion }) => !isQuestion)
    const questions = found.filter(({ isQuestion }) => isQuestion)
    expect(facts.length).toBeGreaterThanOrEqual(8)
    expect(facts.length).toBeLessThanOrEqual(16)
    expect(new Set(facts.map(({ key }) => key)).size).toBe(facts.length)
    expect(questions).toHaveLength(facts.length)
    for (const { key, code, place } of questions) {
      const fact = facts.find((other) => other.key === key)!
      expect(fact.code).toBe(code)
      expect(fact.place).toBeLessThan(place)
    }
  }
})

test('rows are one sequence of exactly the tokens asked for; only answers weigh more', () => {
  for (let index = 0; index < 20; index++) {
    const { sequences, targetWeights } = rowOf(index)
    expect(sequences.map(({ length }) => length)).toEqual([TOKENS])
    expect(targetWeights![0]).toHaveLength(TOKENS)
    const heavy = textOf(sequences[0].filter((_, place) => targetWeights![0][place] === 5))
    const codes = parse({ sequences }).flatMap(({ isQuestion, code }) => (isQuestion ? [` ${code}`] : []))
    expect(heavy).toBe(codes.join(''))
    expect(targetWeights![0].every((weight) => weight === 1 || weight === 5)).toBe(true)
  }
})

test('what surrounds the facts is the text, from its beginning on and in its order', () => {
  const counting: TrainingData = {
    fingerprint: 'counting',
    rows: ({ sequenceTokens }) => ({
      row: () => ({ sequences: [Int32Array.from({ length: sequenceTokens }, (_, place) => 1000 + place)] }),
    }),
  }
  const [ids] = rowOf(0, { data: counting }).sequences
  const filler = ids.filter((id) => id >= 1000)
  expect(filler).toEqual(Int32Array.from(filler, (_, place) => 1000 + place))
  expect(filler.length).toBeGreaterThan(TOKENS / 3)
})

test('seed and index decide a row, whatever was asked for before', () => {
  const rows = needleRows({ data: prose, task }).rows({ sequenceTokens: TOKENS, seed: 1 })
  const forward = [0, 1, 2, 3].map((index) => rows.row(index))
  const again = needleRows({ data: prose, task }).rows({ sequenceTokens: TOKENS, seed: 1 })
  expect([3, 2, 1, 0].map((index) => again.row(index)).reverse()).toEqual(forward)
  expect(rowOf(1, {}, 4)).not.toEqual(rowOf(1, {}, 5))
  expect(rowOf(1)).not.toEqual(rowOf(2))
})

test('the share of rows with facts, and of questions at the end, is the one that was asked for', () => {
  const rows = needleRows({ data: prose, task, share: 0.25, endShare: 0.5 }).rows({ sequenceTokens: TOKENS, seed: 8 })
  const made = Array.from({ length: 200 }, (_, index) => rows.row(index))
  const withFacts = made.filter(({ targetWeights }) => targetWeights)
  expect(withFacts.length / 200).toBeCloseTo(0.25, 1)
  expect(made.every(({ sequences }) => sequences.length === 1 && sequences[0].length === TOKENS)).toBe(true)
  const weights = withFacts.map((row) => row.targetWeights![0])
  const isAtEnd = weights.map((row) => row[TOKENS - 1] === 5)
  expect(isAtEnd.filter(Boolean).length).toBeGreaterThan(0.95 * weights.length)
})

test('questions within the row stand near their facts as well as far from them', () => {
  const distances = Array.from({ length: 30 }, (_, index) => rowOf(index, { endShare: 0 })).flatMap((row) => {
    const found = parse(row)
    return found.filter(({ isQuestion }) => isQuestion).map(({ key, place }) => place - found.find((other) => other.key === key)!.place)
  })
  expect(distances.some((distance) => distance < 200)).toBe(true)
  expect(distances.some((distance) => distance > 2000)).toBe(true)
})

test('the fingerprint names text and settings', () => {
  const fingerprints = [
    {},
    { share: 0.4 },
    { answerWeight: 1 },
    { needles: { least: 2, most: 3 } },
    { data: { ...prose, fingerprint: 'x' } },
  ]
  expect(new Set(fingerprints.map((changes) => needleRows({ data: prose, task, ...changes }).fingerprint)).size).toBe(5)
  expect(needleRows({ data: prose, task }).fingerprint).toBe(needleRows({ data: prose, task: textNeedle(bytes) }).fingerprint)
})

test.each([
  ['share', { share: 1.5 }],
  ['needles.most', { needles: { least: 4, most: 3 } }],
  ['trials', { trials: 0 }],
  ['answerWeight', { answerWeight: -1 }],
  ['needles', { needles: { least: 60, most: 60 } }],
  ['needles', { trials: 3 }],
])('says what is wrong with %s: %#', (setting, wrong) => {
  expect(() => rowOf(0, wrong)).toThrow(expect.objectContaining({ code: 'invalid-config', setting }))
})
