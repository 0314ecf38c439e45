import { tokenBatch } from '@phsa/model'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseChoices } from '../../src/evaluation/choice-records.js'
import { choiceRequests, packSequences, sharedSequences } from '../../src/evaluation/choice-requests.js'
import { type ChoiceOptions, type ChoiceResult, evaluateChoices } from '../../src/evaluation/evaluate-choices.js'
import { pairedDifference } from '../../src/evaluation/paired-difference.js'
import { letterPunctuation, letterTokenizer, tinyModel } from '../tiny-model.js'

const TASK = [
  '{"query": "the king had three", "choices": ["sons.", "horses and a", "moon"], "gold": 0, "id": 7}',
  '{"context": "a", "choices": ["b", "c", "b"], "gold": 2}',
  '',
  '{"context": "a", "choices": ["b"], "gold": 0}',
  'no json',
  '{"context": "a", "choices": ["b", "c"], "gold": 2}',
  '{"context": "  ", "choices": ["b", "c"], "gold": 1}',
  '{"context": "a", "choices": ["b", ""], "gold": 1}',
  '[1]',
].join('\n')

test('reads records by either name and reports every other line', () => {
  const { records, faults } = parseChoices(TASK)
  expect(records.map(({ line, context, gold }) => [line, context, gold])).toEqual([
    [1, 'the king had three', 0],
    [2, 'a', 2],
  ])
  expect(faults.map(({ line }) => line)).toEqual([4, 5, 6, 7, 8, 9])
  expect(faults[0].reason).toContain('two texts or more')
  expect(faults[2].reason).toContain('gold is 2')
})

test('a choice begins behind its context, white space and joined tokens included', () => {
  // Joins "a b" into one token, as byte-pair tokenizers do at borders.
  const joining = { encode: (text: string) => Array.from(text.replaceAll('a b', 'x'), (letter) => letter.charCodeAt(0)) }
  const [record] = parseChoices('{"context": "ca ", "choices": ["b", "d"], "gold": 0}').records
  const { requests } = choiceRequests([{ ...record, context: 'ca' }], joining, 100)
  expect(requests.map(({ targets }) => String.fromCharCode(...targets))).toEqual(['x', ' d'])
  expect(requests.map(({ input }) => String.fromCharCode(...input))).toEqual(['c', 'ca '])
  const spaced = choiceRequests([record], joining, 100, '').requests
  expect(spaced.map(({ targets }) => String.fromCharCode(...targets))).toEqual(['x', ' d'])
})

test('too long a record is a fault of its line', () => {
  const { records, faults } = choiceRequests(parseChoices(TASK).records, letterTokenizer, 20)
  expect(records.map(({ line }) => line)).toEqual([2])
  expect(faults).toEqual([{ line: 1, reason: 'it has 30 tokens with its longest choice; this model takes at most 20' }])
})

test('every request is read off a sequence that it begins, and no sequence begins another', () => {
  const ids = fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 6 })
  fc.assert(
    fc.property(fc.array(ids, { minLength: 1, maxLength: 12 }), fc.integer({ min: 1, max: 20 }), (inputs, batchTokens) => {
      const requests = inputs.map((input, record) => ({
        record,
        choice: 0,
        input: Int32Array.from(input),
        targets: Int32Array.of(1),
        bytes: 1,
      }))
      const sequences = sharedSequences(requests)
      const text = (values: Iterable<number>) => [...values].join()
      expect(sequences.flatMap((sequence) => sequence.requests.map(({ record }) => record)).sort((a, b) => a - b)).toEqual([
        ...requests.keys(),
      ])
      for (const sequence of sequences) {
        for (const { input } of sequence.requests) expect(text(sequence.ids.subarray(0, input.length))).toBe(text(input))
      }
      const starts = sequences.map(({ ids }) => text(ids))
      for (const one of starts) expect(starts.filter((other) => `${other},`.startsWith(`${one},`))).toEqual([one])
      const batches = packSequences(sequences, batchTokens)
      expect(batches.flat().length).toBe(sequences.length)
      for (const batch of batches) {
        if (batch.length > 1) expect(batch.reduce((sum, { ids }) => sum + ids.length, 0)).toBeLessThanOrEqual(batchTokens)
      }
    }),
  )
})

async function run(options: ChoiceOptions): Promise<{ result: ChoiceResult; done: number[] }> {
  const steps = evaluateChoices(options)
  const done: number[] = []
  for (;;) {
    const next = await steps.next()
    if (next.done) return { result: next.value, done }
    done.push(next.value.done / next.value.total)
  }
}

test('answers are the choices of highest log-likelihood, by themselves and by byte, as single forwards give them', async () => {
  const model = await tinyModel()
  const { memory } = model.backend
  for (const tensor of model.parameters.values()) {
    if (tensor.shape.length > 1)
      memory.write(
        tensor,
        (await memory.download(tensor)).map((value: number) => 20 * value),
      )
  }
  const choices = ['sons.', 'horses and a', 'moon', 'x', 'y', 'a very, very long one. with marks, and more']
  const contexts = ['the king had', 'once upon a time, there was. a man,', 'she', 'and then they went, far away. over the hills,']
  // What single forwards say: log-likelihood of each choice behind its context, and the choice of most, by itself and by byte.
  const answers: { plain: number; byByte: number }[] = []
  for (const context of contexts) {
    const scores: number[] = []
    for (const choice of choices) {
      const whole = Int32Array.from(letterTokenizer.encode(`${context} ${choice}`))
      const tensor = model.logits(tokenBatch([whole], letterPunctuation))
      const logits = await memory.download(tensor)
      tensor.dispose()
      const vocabulary = model.config.vocabSize
      let score = 0
      for (let place = context.length; place < whole.length; place++) {
        const row = Array.from(logits.slice((place - 1) * vocabulary, place * vocabulary))
        score += row[whole[place]] - Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0))
      }
      scores.push(score)
    }
    const byByte = scores.map((score, index) => score / choices[index].length)
    answers.push({ plain: scores.indexOf(Math.max(...scores)), byByte: byByte.indexOf(Math.max(...byByte)) })
  }
  const usage = memory.usage()
  const shared = { model, tokenizer: letterTokenizer, punctuation: letterPunctuation, batchTokens: 64 }
  const recordsWith = (goldOf: (record: number) => number) =>
    contexts.map((context, index) => ({ line: index + 1, context, choices, gold: goldOf(index) }))
  const { result, done } = await run({ ...shared, records: recordsWith((record) => answers[record].plain) })
  expect(memory.usage()).toEqual(usage)
  expect(done.at(-1)).toBe(1)
  expect(result).toMatchObject({ records: 4, requests: 24, faults: [] })
  // Choices of one letter share a sequence with others of their context.
  expect(result.sequences).toBe(4 * 4)
  expect(result.rows.map(({ policy, topK }) => `${policy} ${topK}`)).toEqual(['dense dense', 'phsa 2', 'mean-pool 2'])
  expect(result.rows[1].sparseSequences).toBeGreaterThan(0)
  expect(result.rows[1].acc).toEqual({ accuracy: 1, standardError: 0 })
  expect(result.rows[0].overDense).toBeUndefined()
  // Here every policy answers as dense attention does.
  expect(result.rows[1].overDense?.acc).toEqual({ mean: 0, interval: [0, 0] })

  const byByte = await run({ ...shared, policies: ['phsa'], records: recordsWith((record) => answers[record].byByte) })
  expect(byByte.result.rows[1].accNorm).toEqual({ accuracy: 1, standardError: 0 })
  const wrong = await run({
    ...shared,
    policies: ['phsa'],
    records: recordsWith((record) => (answers[record].plain + (record === 0 ? 0 : 1)) % 6),
  })
  const { accuracy, standardError } = wrong.result.rows[1].acc
  expect(accuracy).toBe(1 / 4)
  expect(standardError).toBeCloseTo(Math.sqrt((0.25 * 0.75) / 3), 12)
})

test('two policies are compared record by record', () => {
  const share = (right: number) => Array.from({ length: 100 }, (_, record) => record < right)
  // Two of 100 records differ, both to one side: 0.02 with the standard error of such a mean, far less than that of either share.
  const { mean, interval } = pairedDifference(share(62), share(60))
  expect(mean).toBeCloseTo(0.02, 12)
  const half = 1.9842 * Math.sqrt((2 * 0.98 ** 2 + 98 * 0.02 ** 2) / 99 / 100)
  expect(interval?.[0]).toBeCloseTo(0.02 - half, 5)
  expect(interval?.[1]).toBeCloseTo(0.02 + half, 5)
  expect(pairedDifference([true], [false])).toEqual({ mean: 1 })
})

test('says what is wrong', async () => {
  const model = await tinyModel()
  await expect(run({ model, tokenizer: letterTokenizer, records: [] })).rejects.toThrow('none of the 0 records')
  const long = { line: 3, context: 'a'.repeat(300), choices: ['b', 'c'], gold: 0 }
  await expect(run({ model, tokenizer: letterTokenizer, records: [long] })).rejects.toThrow('Line 3: it has 301 tokens')
})
