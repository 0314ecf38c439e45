import { phsaConfig, SparsitySchedule } from '@phsa/core'
import type { DecoderModel } from '@phsa/model'
import { beforeAll, expect, test } from 'vitest'
import { createTrainer } from '../../src/create-trainer.js'
import type { TextDataset } from '../../src/data/text-dataset.js'
import { type EvaluationOptions, type EvaluationRow, evaluateSelections } from '../../src/evaluation/evaluate-selections.js'
import { heldOutBatches } from '../../src/evaluation/held-out-batches.js'
import { letterData, letterPunctuation, tinyModel } from '../tiny-model.js'

const phsa = phsaConfig({ blockSize: 16, initTokens: 16, localTokens: 16, topK: 1 })
const STORY =
  'once upon a time, there was a king who had three sons. the eldest was strong, the second was clever, and the youngest was kind. ' +
  'one day, the king fell ill, and no doctor could help him. an old woman told him of a well, far away, whose water heals everything.'

let model: DecoderModel
let options: EvaluationOptions
let data: TextDataset
beforeAll(async () => {
  model = await tinyModel({ phsa })
  const schedule = new SparsitySchedule([{ kind: 'dense', share: 1 }])
  data = await letterData(STORY)
  // A few steps, so that attention is no longer flat.
  const trainer = createTrainer({
    model,
    data,
    batch: { sequences: 1, tokens: 64 },
    steps: 20,
    schedule,
    optimizer: { learningRate: 0.03 },
  })
  for await (const event of trainer) expect(event.skipped).toBe(false)
  const batches = heldOutBatches(data, { windows: 2, tokens: 200, punctuation: letterPunctuation })
  options = { model, batches, policies: ['phsa', 'mean-pool', 'infllm-v2', 'random', 'oracle', 'dense'], topKs: [1, 2, 4], rows: 16 }
})

async function evaluate(
  changes: Partial<EvaluationOptions> = {},
): Promise<{ table: EvaluationRow[]; rows: EvaluationRow[]; done: number[] }> {
  const iterator = evaluateSelections({ ...options, ...changes })
  const rows: EvaluationRow[] = []
  const done: number[] = []
  for (;;) {
    const next = await iterator.next()
    if (next.done) return { table: next.value, rows, done }
    done.push(next.value.done / next.value.total)
    if (next.value.row) rows.push(next.value.row)
  }
}

test('the table is sane: dense keeps all mass, the oracle the most, more blocks never less', async () => {
  const before = model.backend.memory.usage()
  const { table, rows, done } = await evaluate()
  expect(model.backend.memory.usage()).toEqual(before)
  expect(rows).toEqual(table)
  expect(done).toEqual([...done].sort((left, right) => left - right))
  expect(done.at(-1)).toBe(1)

  const [dense, ...sparse] = table
  expect(dense).toMatchObject({ policy: 'dense', topK: 'dense', sparsity: 0 })
  expect(dense.recall).toBeCloseTo(1, 5)
  expect(dense.selectionRecall).toBeUndefined()
  expect(sparse.map(({ policy, topK }) => `${policy} ${topK}`)).toEqual(
    ['phsa', 'mean-pool', 'infllm-v2', 'random', 'oracle'].flatMap((policy) => [1, 2, 4].map((topK) => `${policy} ${topK}`)),
  )
  for (const row of sparse) {
    const oracle = sparse.find(({ policy, topK }) => policy === 'oracle' && topK === row.topK)!
    expect(row.recall).toBeGreaterThan(0)
    expect(row.recall).toBeLessThanOrEqual(oracle.recall + 1e-6)
    expect(row.perplexity).toBeGreaterThan(1)
    if (row.policy === 'oracle') expect(row.selectionRecall).toBe(1)
    else expect(row.selectionRecall).toBeLessThan(1)
    expect(row.selectionRecall).toBeGreaterThan(0)
    expect(row.recallByHead.map((heads) => heads.length)).toEqual([1, 1])
    expect((row.recallByHead[0][0] + row.recallByHead[1][0]) / 2).toBeCloseTo(row.recall, 10)
    expect(row.queries).toBe(32)
    expect(row.activatedTokens).toBe(32 + 16 * (row.topK as number))
    expect(row.sparsity).toBeGreaterThan(0)
  }
  const oracle = sparse.filter(({ policy }) => policy === 'oracle').map(({ recall }) => recall)
  expect(oracle[1]).toBeGreaterThan(oracle[0])
  expect(oracle[2]).toBeGreaterThan(oracle[1])
  expect(JSON.parse(JSON.stringify(table))).toEqual(table)
})

test('with room for every block, all policies are dense', async () => {
  const { table } = await evaluate({
    batches: options.batches.slice(0, 1),
    topKs: [9],
    policies: ['phsa', 'random'],
    phsa: phsaConfig({ denseLayers: [0, 1] }, phsa),
  })
  for (const row of table) {
    expect(row.recall).toBeCloseTo(1, 5)
    expect(row.selectionRecall).toBeUndefined()
    expect(row.perplexity).toBeCloseTo(table[0].perplexity, 4)
  }
})

test('the same seed measures the same', async () => {
  const small = { topKs: [1], policies: ['phsa'], perplexityBatches: 1 }
  expect((await evaluate(small)).table).toEqual((await evaluate(small)).table)
  expect((await evaluate({ ...small, seed: 1 })).table[1].recall).not.toBe((await evaluate(small)).table[1].recall)
})

test('says what is wrong', async () => {
  await expect(evaluate({ topKs: [60] })).rejects.toThrow('Give longer windows')
  await expect(evaluate({ policies: ['dense'] })).rejects.toThrow('only dense')
  await expect(evaluate({ batches: [] })).rejects.toThrow('batches counts 0')
  await expect(evaluate({ policies: ['none'] })).rejects.toThrow('no selection policy')
  await expect(evaluate({ signal: AbortSignal.abort(new Error('stopped')) })).rejects.toThrow('stopped')
})

test('says before the recall pass that the batches for perplexity are too short', async () => {
  const short = (tokens: number) => heldOutBatches(data, { windows: 1, tokens, punctuation: letterPunctuation })
  // 48 tokens are visible; the last of 49 is past them, but predicts nothing.
  for (const tokens of [40, 49]) {
    const run = evaluateSelections({ ...options, batches: [...short(tokens), ...options.batches], topKs: [1], perplexityBatches: 1 })
    await expect(run.next()).rejects.toThrow('perplexityBatches')
  }
  const enough = { batches: [...short(50), ...options.batches.slice(0, 1)], topKs: [1], policies: ['phsa'], perplexityBatches: 1 }
  expect((await evaluate(enough)).table[1].perplexity).toBeGreaterThan(1)
})
