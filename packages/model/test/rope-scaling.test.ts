import { expect, test } from 'vitest'
import { type RopeScaling, type RopeSettings, ropeAttentionFactor, ropeFrequencies } from '../src/rope-scaling.js'
import { ropeAngles } from '../src/rope-tables.js'

// Every number below was computed in NumPy float64 from the formulas of the YaRN paper and the rounding of transformers.

const qwen3: RopeSettings = { headDim: 128, ropeTheta: 1e6, ropeScaling: { type: 'yarn', factor: 4, originalMaxPositions: 32768 } }
const small = (ropeScaling: RopeScaling): RopeSettings => ({ headDim: 32, ropeTheta: 10_000, ropeScaling })
const eightfold = { type: 'yarn', factor: 8, originalMaxPositions: 2048 } as const

function expectColumns(settings: RopeSettings, expected: Record<number, number>): void {
  const frequencies = ropeFrequencies(settings)
  expect(frequencies).toHaveLength(settings.headDim / 2)
  for (const [column, frequency] of Object.entries(expected)) {
    expect(Math.abs(frequencies[Number(column)] / frequency - 1), `column ${column}`).toBeLessThan(1e-12)
  }
}

test('without scaling, column c turns by theta^(-2c / D), and nothing is multiplied', () => {
  const settings = { headDim: 8, ropeTheta: 10_000 }
  expectColumns(settings, { 0: 1, 1: 0.1, 2: 0.01, 3: 0.001 })
  expect(ropeAttentionFactor(undefined)).toBe(1)
})

test('linear scaling divides every frequency', () => {
  const settings = small({ type: 'linear', factor: 8 })
  expectColumns(settings, { 0: 0.125, 1: 0.07029266564879363, 5: 0.007029266564879363, 15: 2.2228492625486534e-5 })
  expect(ropeAttentionFactor(settings.ropeScaling)).toBe(1)
})

test("Qwen3's documented YaRN: columns up to 23 kept, from 40 on interpolated, a ramp between", () => {
  expectColumns(qwen3, {
    0: 1,
    10: 0.1154781984689458,
    23: 0.006978305848598663,
    24: 0.005375321490790102,
    30: 0.0010643609812470017,
    37: 0.00012993149493015669,
    40: 4.445698525097307e-5,
    45: 1.5107409755953319e-5,
    63: 3.102344401879299e-7,
  })
  expect(ropeAttentionFactor(qwen3.ropeScaling)).toBeCloseTo(1.138629436111989, 13)
})

test('the ends of the ramp are whole columns, unless truncate is false', () => {
  const outside = { 0: 1, 4: 0.1, 11: 0.00022228492625486537, 12: 0.000125, 15: 2.2228492625486534e-5 }
  expectColumns(small(eightfold), { ...outside, 5: 0.04920486595415555, 8: 0.005, 10: 0.000790569415042095 })
  expectColumns(small({ ...eightfold, truncate: true }), { 5: 0.04920486595415555 })
  expectColumns(small({ ...eightfold, truncate: false }), {
    ...outside,
    5: 0.048322912683723025,
    8: 0.004233133441317673,
    10: 0.00041945916862360614,
  })
})

test('beta_fast, beta_slow and the mscales of YaRN', () => {
  const ropeScaling = {
    type: 'yarn',
    factor: 40,
    originalMaxPositions: 4096,
    betaFast: 16,
    betaSlow: 2,
    mscale: 1,
    mscaleAllDim: 0.8,
  } as const
  expectColumns(
    { headDim: 16, ropeTheta: 10_000, ropeScaling },
    { 3: 0.03162277660168379, 4: 0.006750000000000002, 5: 0.001106797181058933, 6: 2.5e-5, 7: 7.905694150420947e-6 },
  )
  expect(ropeAttentionFactor(ropeScaling)).toBeCloseTo(1.0569662567531275, 13)
})

test('the attention factor: given, or 0.1 ln(factor) + 1 unless both mscales count', () => {
  expect(ropeAttentionFactor({ ...eightfold, attentionFactor: 1.25, mscale: 1, mscaleAllDim: 2 })).toBe(1.25)
  for (const scaling of [eightfold, { ...eightfold, mscale: 2 }, { ...eightfold, mscale: 2, mscaleAllDim: 0 }]) {
    expect(ropeAttentionFactor(scaling)).toBeCloseTo(1.2079441541679836, 13)
  }
  expect(ropeAttentionFactor({ ...eightfold, factor: 1 })).toBe(1)
})

test('a ramp of no width is a step', () => {
  const ropeScaling = { type: 'yarn', factor: 4, originalMaxPositions: 4 } as const
  expectColumns({ headDim: 8, ropeTheta: 10_000, ropeScaling }, { 0: 1, 1: 0.025, 2: 0.0025, 3: 0.00025 })
})

test.each([
  [1, { 0: [0.6152041098606474, 0.9581236329364153], 24: [1.138612986325946, 0.006120469803654457] }],
  [1000, { 24: [0.7007477076722493, -0.8974573209756519], 30: [0.5523071460119422, 0.9957076926713229] }],
  [40959, { 0: [0.5316229220274113, -1.0069032036674346], 45: [0.9275095069909653, 0.6604567413707597] }],
])('the table of YaRN carries the attention factor at position %i', (position, columns) => {
  expectTable(qwen3, position, columns)
})

test.each([
  [7, { 0: [0.6409968581633251, 0.7675435022360271], 5: [0.9987896848058566, 0.049185013219655294] }],
  [4000, { 0: [-0.883849273431478, -0.46777180532247614], 5: [-0.9876589150102411, 0.15662013791589308] }],
])('the table of linear scaling at position %i', (position, columns) => {
  expectTable(small({ type: 'linear', factor: 8 }), position, columns)
})

/** Within half a unit of f32 around 1, as far as the tables go. */
function expectTable(settings: RopeSettings, position: number, columns: Record<number, number[]>): void {
  const { cos, sin } = ropeAngles(position + 1, settings)
  for (const [column, [cosine, sine]] of Object.entries(columns)) {
    const index = (position * settings.headDim) / 2 + Number(column)
    expect(Math.abs(cos[index] - cosine)).toBeLessThan(6e-8)
    expect(Math.abs(sin[index] - sine)).toBeLessThan(6e-8)
  }
}
