import { densePolicy, type HostArray, PunctuationTable, phsaPolicy, RandomStream } from '@phsa/core'
import type { AttentionChoice, DecoderModel } from '@phsa/model'
import { expect, test, vi } from 'vitest'
import { Optimizer } from '../src/optimizer.js'
import { planTraining } from '../src/trainer-options.js'
import type { PackedRow } from '../src/training-data.js'
import { type StepResult, trainingStep } from '../src/training-step.js'
import { letterData, tinyModel, tinyPhsa } from './tiny-model.js'

const random = new RandomStream(3)
const ids = (length: number) => Int32Array.from({ length }, () => 1 + random.below(28))

/** Four rows of 48 tokens that count very differently: whole, hardly, by halves, and in pieces of which one is masked. */
const ROWS: readonly PackedRow[] = [
  { sequences: [ids(48)] },
  { sequences: [ids(48)], targetWeights: [Float32Array.from({ length: 48 }, (_, place) => (place === 7 ? 2 : 0))] },
  { sequences: [ids(20), ids(28)], targetWeights: [new Float32Array(20).fill(0.5), new Float32Array(28).fill(3)] },
  { sequences: [ids(30), ids(18)], targetWeights: [new Float32Array(30), new Float32Array(18).fill(1)] },
]

/** Every fifth id or so, so that each block has some. */
const punctuation = new PunctuationTable(new Map([3, 9, 15, 21, 27].map((id) => [id, '.'])), 30)

const inTurn = (rows: readonly PackedRow[], size: number) =>
  Array.from({ length: rows.length / size }, (_, index) => rows.slice(index * size, (index + 1) * size))

interface Step extends StepResult {
  readonly gradients: ReadonlyMap<string, HostArray>
}

/** The numbers and gradients of one step; in f64, so that what remains is not rounding. */
async function step(
  microBatches: readonly (readonly PackedRow[])[],
  attention: AttentionChoice = { policy: densePolicy, phsa: tinyPhsa },
  distillation = false,
): Promise<Step> {
  const model = await tinyModel({ dtype: 'f64' })
  const plan = planTraining({
    model,
    data: await letterData('not read'),
    batch: { sequences: 1, tokens: 48 },
    steps: 1,
    distillation: { rowsPerSequence: 12 },
  })
  const optimizer = new Optimizer(model, plan.optimizer, { learnsLambda: distillation })
  const lambda = optimizer.lambda?.tensors
  const random = new RandomStream(11)
  const shared = { model, optimizer, plan, microBatches, distillation, random, punctuation }
  const input = { ...shared, attention: { ...attention, ...(lambda && { lambda }) } }
  const result = await trainingStep({ ...input, learningRate: 1e-3, draw: 0, count: 1 })
  return { ...result, gradients: await downloadAll(model, optimizer) }
}

async function downloadAll({ backend }: DecoderModel, { gradients }: Optimizer): Promise<Map<string, HostArray>> {
  const values = new Map<string, HostArray>()
  for (const [name, gradient] of gradients) values.set(name, await backend.memory.download(gradient))
  return values
}

/** Largest Frobenius norm of a difference over that of the expected gradient. */
function distance(actual: Step, expected: Step): number {
  const norm = (values: Iterable<number>) => Math.sqrt([...values].reduce((sum, value) => sum + value * value, 0))
  const distances = [...expected.gradients].map(([name, values]) => {
    const other = actual.gradients.get(name)!
    return norm(Array.from(values, (value, index) => value - other[index])) / norm(values)
  })
  return Math.max(...distances)
}

test.each([1, 2])('micro-batches of %i rows give the loss and gradients of one big batch', async (size) => {
  const whole = await step([ROWS])
  const accumulated = await step(inTurn(ROWS, size))
  expect(accumulated.loss).toBeCloseTo(whole.loss, 6)
  expect(accumulated.gradientNorm).toBeCloseTo(whole.gradientNorm, 6)
  expect(distance(accumulated, whole)).toBeLessThan(1e-12)
})

test('so do micro-batches of one row and of three', async () => {
  const whole = await step([ROWS])
  const uneven = await step([ROWS.slice(0, 1), ROWS.slice(1)])
  expect(uneven.loss).toBeCloseTo(whole.loss, 6)
  expect(distance(uneven, whole)).toBeLessThan(1e-12)
})

test('the mean over the micro-batches of their means is something else', async () => {
  const whole = await step([ROWS])
  const alone = await Promise.all(ROWS.map((row) => step([[row]])))
  const mean = alone.reduce((sum, { loss }) => sum + loss, 0) / ROWS.length
  expect(Math.abs(mean - whole.loss)).toBeGreaterThan(1e-3)
})

test('a step where no target counts has no loss, however it is split', async () => {
  const masked = ROWS.map(({ sequences }) => ({ sequences, targetWeights: sequences.map(({ length }) => new Float32Array(length)) }))
  expect(await step(inTurn(masked, 1))).toMatchObject({ loss: 0, gradientNorm: 0 })
})

const sparse = { policy: phsaPolicy, phsa: tinyPhsa }

test('distillation: rows without candidates weigh nothing, wherever they are', async () => {
  const short: PackedRow = { sequences: [ids(12), ids(12), ids(12), ids(12)] }
  const [whole, split, alone] = [
    await step([[ROWS[0], short]], sparse, true),
    await step([[ROWS[0]], [short]], sparse, true),
    await step([[ROWS[0]]], sparse, true),
  ]
  expect(distance(split, whole)).toBeLessThan(1e-12)
  expect(split.distillationLoss).toBeCloseTo(whole.distillationLoss!, 6)
  expect(split.distillationLoss).toBeCloseTo(alone.distillationLoss!, 6)
  expect(alone.distillationLoss).toBeGreaterThan(0)
  for (const [layer, [slope]] of whole.lambdaGradients!.entries()) {
    expect(slope).not.toBe(0)
    expect(split.lambdaGradients![layer][0] / slope).toBeCloseTo(1, 6)
  }
})

test('distillation: rows are drawn as for one big batch, and the parts are averaged by the mass of even attention', async () => {
  const [whole, split] = [await step([ROWS], sparse, true), await step(inTurn(ROWS, 2), sparse, true)]
  // Attention is nearly even before training; the plain mean is 10 % off, as is one by rows with candidates.
  expect(Math.abs(split.distillationLoss! / whole.distillationLoss! - 1)).toBeLessThan(0.02)
  expect(split.loss).toBeCloseTo(whole.loss, 6)
})

test('what is on the device does not grow with the micro-batches', async () => {
  const peakOf = async (count: number) => {
    const model = await tinyModel()
    const { memory, ops } = model.backend
    const plan = planTraining({ model, data: await letterData('not read'), batch: { sequences: 1, tokens: 48 }, steps: 1 })
    const optimizer = new Optimizer(model, plan.optimizer)
    const before = memory.usage().bytes
    let peak = 0
    const original = ops.crossEntropyBackward.bind(ops)
    vi.spyOn(ops, 'crossEntropyBackward').mockImplementation((...parts) => {
      peak = Math.max(peak, memory.usage().bytes - before)
      return original(...parts)
    })
    const microBatches = Array.from({ length: count }, () => [ROWS[0]])
    const attention = { policy: densePolicy, phsa: tinyPhsa }
    await trainingStep({
      model,
      optimizer,
      plan,
      microBatches,
      attention,
      distillation: false,
      learningRate: 0.1,
      draw: 0,
      count: 1,
      random,
    })
    expect(memory.usage().bytes).toBe(before)
    return peak
  }
  const one = await peakOf(1)
  expect(one).toBeGreaterThan(10_000)
  // Of each micro-batch that is done its loss stays: 8 bytes on this backend.
  expect(await peakOf(8)).toBeLessThanOrEqual(one + 8 * 8)
})
