import { describe, expect, test } from 'vitest'
import { PackedLayout } from '../../src/packed-layout.js'
import { reference } from '../../src/reference/reference-backend.js'
import type { AttentionCase } from '../../src/testing/attention-case.js'
import { cancellingCheck, lseCheck } from '../../src/testing/attention-errors.js'
import { attentionInputs } from '../../src/testing/attention-inputs.js'
import { AttentionOracle } from '../../src/testing/attention-oracle.js'
import { BASE_SPEC } from '../../src/testing/base-spec.js'
import { relativeCheck, relativeError, rowwiseCheck } from '../../src/testing/relative-error.js'
import { selectionChecks } from '../../src/testing/selection-check.js'
import { identityCheck } from '../../src/testing/tensor-check.js'
import { MODEL_TOLERANCE, STEP_TOLERANCE, tolerancesFor } from '../../src/testing/tolerances.js'

async function oracle(settings: Partial<AttentionCase> = {}): Promise<AttentionOracle> {
  const attentionCase: AttentionCase = {
    name: 'tolerances',
    spec: BASE_SPEC,
    keyLengths: [131],
    lambda: 0.5,
    inputs: 'normal',
    seed: 7,
    dtypes: ['f32'],
    checks: [],
    ...settings,
  }
  return new AttentionOracle(await reference(), attentionCase.spec, attentionInputs(attentionCase, 'f32'))
}

describe('the bounds of spec 11', () => {
  test('are these', () => {
    expect(tolerancesFor('f32')).toEqual({ relative: 2e-5, row: 1e-4, lse: 2e-5, cancellation: 2.5e-6, selection: 1e-3 })
    expect(tolerancesFor('bf16')).toEqual({ relative: 1e-2, row: 0.05, lse: 1e-2, cancellation: 1.25e-3, selection: 2e-2 })
    expect(tolerancesFor('f16')).toEqual(tolerancesFor('bf16'))
    expect(MODEL_TOLERANCE).toBe(1e-4)
    expect(STEP_TOLERANCE).toBe(1e-3)
  })
})

describe('relative errors', () => {
  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('%d anywhere fails', (value) => {
    const expected = Float64Array.of(1, 2, 3, 4)
    const actual = Float64Array.of(1, 2, value, 4)
    expect(relativeCheck('x', actual, expected, 1e9).ok).toBe(false)
    expect(rowwiseCheck('x', actual, expected, 2, 1e9).ok).toBe(false)
    expect(lseCheck('x', actual, expected, Float64Array.of(1, 1, 1, 1), 1e9).ok).toBe(false)
    expect(cancellingCheck('x', actual, expected, 1e9, tolerancesFor('f32')).ok).toBe(false)
  })

  test('zeros agree with zeros and with nothing else', () => {
    const zeros = new Float64Array(3)
    expect(relativeError(zeros, zeros)).toBe(0)
    expect(relativeCheck('x', Float64Array.of(0, 1e-30, 0), zeros, 1).ok).toBe(false)
  })

  test('another length fails', () => {
    expect(relativeCheck('x', new Float64Array(3), new Float64Array(4), 1).ok).toBe(false)
    expect(identityCheck('x', new Float64Array(3), new Float64Array(4)).ok).toBe(false)
    expect(lseCheck('x', new Float64Array(0), new Float64Array(4), new Float64Array(4), 1).ok).toBe(false)
  })

  test('a lost row of many fails row by row, where it is lost among the others', () => {
    const expected = new Float64Array(10_000 * 4).fill(1)
    const actual = expected.slice().fill(0, 400, 404)
    expect(relativeError(actual, expected)).toBeLessThan(0.0101)
    expect(rowwiseCheck('x', actual, expected, 4, tolerancesFor('bf16').row).ok).toBe(false)
  })

  test('a row near zero may be off by what is small beside the others', () => {
    const expected = Float64Array.of(1, 1, 1e-9, 0, 1, 1)
    const actual = Float64Array.of(1, 1, 1e-6, 0, 1, 1)
    expect(rowwiseCheck('x', actual, expected, 2, tolerancesFor('f32').row).ok).toBe(true)
  })
})

describe('attention errors', () => {
  test('an lse off by 0.05 fails in every type', () => {
    const expected = Float64Array.of(3, 4)
    const actual = Float64Array.of(3, 4.05)
    for (const dtype of ['f32', 'bf16', 'f16'] as const) {
      expect(lseCheck('lse', actual, expected, Float64Array.of(2, 2), tolerancesFor(dtype).lse).ok).toBe(false)
    }
  })

  test('an lse of large scores may be off in proportion', () => {
    const scores = Float64Array.of(500)
    expect(lseCheck('lse', Float64Array.of(500.009), Float64Array.of(500), scores, tolerancesFor('f32').lse).ok).toBe(true)
    expect(lseCheck('lse', Float64Array.of(500.011), Float64Array.of(500), scores, tolerancesFor('f32').lse).ok).toBe(false)
  })

  test('exact zeros of dq and dk take the rounding of a correct backend, and no more', async () => {
    const flat = await oracle({ inputs: 'equal-values' })
    const { dq } = await flat.gradients()
    const { dq: magnitude } = await flat.magnitude()
    const tolerance = tolerancesFor('f32')
    const noise = (norm: number) => Float64Array.from(dq, (value) => value + norm / Math.sqrt(dq.length))
    expect(relativeError(noise(1e-6 * magnitude), dq)).toBeGreaterThan(1)
    expect(cancellingCheck('dq', noise(1e-6 * magnitude), dq, magnitude, tolerance).ok).toBe(true)
    expect(cancellingCheck('dq', noise(1e-5 * magnitude), dq, magnitude, tolerance).ok).toBe(false)
  })

  test('lost last rows of dk fail', async () => {
    const sound = await oracle()
    const { dk } = await sound.gradients()
    const { dk: magnitude } = await sound.magnitude()
    const lost = Float64Array.from(dk).fill(0, -3 * 2 * 32)
    for (const dtype of ['f32', 'bf16'] as const) expect(cancellingCheck('dk', lost, dk, magnitude, tolerancesFor(dtype)).ok).toBe(false)
  })

  test('a lost last block fails', async () => {
    const whole = await oracle()
    // What attends to 128 keys instead of 131 has the last three rows of dv and dk missing and their queries wrong.
    const { dv } = await whole.gradients()
    const lost = Float64Array.from(dv).fill(0, 128 * 2 * 32)
    for (const dtype of ['f32', 'bf16'] as const) expect(rowwiseCheck('dv', lost, dv, 32, tolerancesFor(dtype).row).ok).toBe(false)
  })

  test('a lost key fails', async () => {
    const whole = await oracle()
    const { out } = await whole.attended()
    const { lse } = await whole.attended()
    const { q, k, v } = whole.inputs
    // Row 60 of head 0 without key 59: the rest of its softmax grows by what the key had.
    const [row, key] = [60 * 4 * 32, 59 * 2 * 32]
    let score = 0
    for (let d = 0; d < 32; d++) score += (q[row + d] * k[key + d]) / Math.sqrt(32)
    const share = Math.exp(score - lse[60 * 4])
    const lost = Float64Array.from(out)
    for (let d = 0; d < 32; d++) lost[row + d] = (out[row + d] - share * v[key + d]) / (1 - share)
    expect(share).toBeGreaterThan(1e-3)
    expect(rowwiseCheck('out', lost, out, 32, tolerancesFor('f32').row).ok).toBe(false)
  })
})

describe('selections', () => {
  async function judge(change: (selected: Int32Array) => void) {
    const sound = await oracle()
    const selected = (await sound.selected()).slice()
    change(selected)
    return selectionChecks('selected', selected, await sound.scores(), sound.inputs.layout, BASE_SPEC, tolerancesFor('f32').selection)
  }
  /** First entry of query 120 of KV head 1, which has four candidates. */
  const place = (131 + 120) * 2

  test("the reference's own passes", async () => {
    expect((await judge(() => undefined)).every((check) => check.ok)).toBe(true)
  })

  test.each<[string, number[]]>([
    ['too few', [1, -1]],
    ['descending', [3, 1]],
    ['twice the same', [2, 2]],
    ['a forced block', [0, 1]],
    ['a block of the window', [1, 7]],
    ['a block that does not exist', [1, 99]],
    ['padding first', [-1, 1]],
  ])('%s is no choice', async (_, row) => {
    const [form] = await judge((selected) => selected.set(row, place))
    expect(form.ok).toBe(false)
  })

  test('-1 where nothing can be chosen is the only right row', async () => {
    const [form] = await judge((selected) => selected.set([0, -1], 0))
    expect(form.ok).toBe(false)
  })

  test('the worst blocks instead of the best fail by score', async () => {
    const sound = await oracle()
    const scores = (await sound.scores())[131 + 120]
    const worst = [1, 2, 3, 4, 5].sort((a, b) => scores[a] - scores[b]).slice(0, 2)
    const [form, score] = await judge((selected) =>
      selected.set(
        [...worst].sort((a, b) => a - b),
        place,
      ),
    )
    expect(form.ok).toBe(true)
    expect(score.ok).toBe(false)
  })

  test('another block passes where its score is within delta of the best, and fails beyond', () => {
    const layout = new PackedLayout([80], 16, [1])
    const spec = { ...BASE_SPEC, heads: 1, kvHeads: 1, topK: 1, initTokens: 0, localTokens: 16 }
    const judged = (rest: number) =>
      selectionChecks('selected', Int32Array.of(1), [Float64Array.of(0.1, 0.5 * (1 - rest), 0.5, 0.1, 0)], layout, spec, 1e-3)
    expect(judged(0.9e-3).map(({ ok }) => ok)).toEqual([true, true])
    expect(judged(1.1e-3).map(({ ok }) => ok)).toEqual([true, false])
  })
})
