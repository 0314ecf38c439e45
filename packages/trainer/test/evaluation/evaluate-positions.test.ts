import { phsaConfig, phsaPolicy } from '@phsa/core'
import type { DecoderModel, TrainingBatch } from '@phsa/model'
import { beforeAll, expect, test } from 'vitest'
import { evaluatePositions, type PositionOptions, type PositionRow } from '../../src/evaluation/evaluate-positions.js'
import { heldOutBatches } from '../../src/evaluation/held-out-batches.js'
import { validate } from '../../src/validation.js'
import { letterData, letterPunctuation, tinyModel } from '../tiny-model.js'

const phsa = phsaConfig({ blockSize: 4, initTokens: 4, localTokens: 8, topK: 1 })
const STORY = 'once upon a time, there was a king who had three sons. the eldest was strong, the second was clever, the youngest kind. '

let model: DecoderModel
let batches: TrainingBatch[]
beforeAll(async () => {
  model = await tinyModel({ phsa })
  for (const tensor of model.parameters.values()) {
    if (tensor.shape.length > 1) {
      const values = await model.backend.memory.download(tensor)
      model.backend.memory.write(
        tensor,
        values.map((value: number) => 20 * value),
      )
    }
  }
  batches = heldOutBatches(await letterData(STORY.repeat(2)), { windows: 3, tokens: 90, punctuation: letterPunctuation })
})

async function evaluate(changes: Partial<PositionOptions> = {}): Promise<{ table: PositionRow[]; rows: PositionRow[]; done: number[] }> {
  const run = evaluatePositions({ model, batches, ...changes })
  const rows: PositionRow[] = []
  const done: number[] = []
  for (;;) {
    const next = await run.next()
    if (next.done) return { table: next.value, rows, done }
    done.push(next.value.done / next.value.total)
    if (next.value.row) rows.push(next.value.row)
  }
}

test('buckets hold every predicted token once; early positions are dense, late ones are not', async () => {
  const before = model.backend.memory.usage()
  const { table, rows, done } = await evaluate({ edges: [16, 40] })
  expect(model.backend.memory.usage()).toEqual(before)
  expect(rows).toEqual(table)
  expect(done.at(-1)).toBe(1)
  expect(table.map(({ policy, topK }) => `${policy} ${topK}`)).toEqual(['dense dense', 'phsa 1', 'mean-pool 1'])
  const predicted = batches.flatMap(({ weights }) => [...weights]).filter((weight) => weight !== 0).length
  for (const { buckets, activatedTokens } of table) {
    expect(buckets.map(({ from }) => from)).toEqual([0, 16, 40])
    expect(buckets.reduce((sum, { tokens }) => sum + tokens, 0)).toBe(predicted)
    for (const { loss, perplexity } of buckets) expect(perplexity).toBeCloseTo(Math.exp(loss), 10)
    if (activatedTokens === undefined) continue
    // A is 16: every query of the first bucket sees all.
    expect(activatedTokens).toBe(16)
    expect(buckets[0].overDense!.mean).toBeCloseTo(0, 5)
    expect(Math.abs(buckets[2].overDense!.mean)).toBeGreaterThan(1e-3)
    expect(buckets[2].overDense!.mean).toBeCloseTo(buckets[2].loss - table[0].buckets[2].loss, 5)
    expect(buckets[2].overDense!.interval).toBeDefined()
  }
  const { loss } = await validate(model, batches, { policy: phsaPolicy, phsa })
  const [, { buckets }] = table
  expect(buckets.reduce((sum, { loss, tokens }) => sum + loss * tokens, 0) / predicted).toBeCloseTo(loss, 5)
})

test('by default the buckets double, and budgets are the model’s', async () => {
  const { table } = await evaluate({ policies: ['phsa'] })
  expect(table[1].topK).toBe(1)
  expect(table[0].buckets.map(({ from, to }) => [from, to])).toEqual([
    [0, 64],
    [64, table[0].buckets[1].to],
  ])
})

test('says what is wrong', async () => {
  await expect(evaluate({ batches: [] })).rejects.toThrow('no token')
  await expect(evaluate({ edges: [8, 8] })).rejects.toThrow('rising')
  await expect(evaluate({ signal: AbortSignal.abort(new Error('stopped')) })).rejects.toThrow('stopped')
})
