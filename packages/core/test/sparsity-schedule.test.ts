import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { defaultSchedule, InvalidConfigError, parseSchedule, SparsitySchedule, type SparsityStage } from '../src/index.js'
import { errorOf } from './error-of.js'

const topKs = fc.oneof(
  fc.nat(64),
  fc.tuple(fc.nat(64), fc.nat(64)).map(([one, other]) => ({ from: Math.max(one, other), to: Math.min(one, other) })),
)
const kinds = fc.oneof(
  fc.constant({ kind: 'dense' as const }),
  topKs.map((topK) => ({ kind: 'sparse' as const, topK })),
)
const parts = fc.array(fc.record({ kind: kinds, weight: fc.integer({ min: 1, max: 100 }), distillation: fc.boolean() }), {
  minLength: 1,
  maxLength: 5,
})
/** Stages of any kind, all in shares or all in tokens. */
const stageLists: fc.Arbitrary<SparsityStage[]> = fc.tuple(parts, fc.boolean()).map(([drawn, inTokens]) => {
  const sum = drawn.reduce((total, { weight }) => total + weight, 0)
  return drawn.map(({ kind, weight, distillation }) => ({
    ...kind,
    distillation,
    ...(inTokens ? { tokens: weight } : { share: weight / sum }),
  }))
})
const totals = fc.integer({ min: 1, max: 200 })

describe('default schedule', () => {
  test('dense for 80 % of the tokens, then topK 2 with distillation', () => {
    const schedule = defaultSchedule()
    expect(schedule.at(0, 1000)).toEqual({ stage: 0, dense: true, topK: 0, distillation: false })
    expect(schedule.at(799, 1000)).toMatchObject({ dense: true })
    expect(schedule.at(800, 1000)).toEqual({ stage: 1, dense: false, topK: 2, distillation: true })
    expect(schedule.at(1000, 1000)).toEqual(schedule.at(800, 1000))
  })

  test('from a dense checkpoint it is sparse at once', () => {
    expect(defaultSchedule(0).at(0, 1000)).toEqual({ stage: 0, dense: false, topK: 2, distillation: true })
  })

  test.each([-0.1, 1, Number.NaN])('refuses a dense share of %d', (share) => {
    expect(() => defaultSchedule(share)).toThrow(`denseShare is ${share}`)
  })
})

describe('a linear fall', () => {
  const schedule = new SparsitySchedule([{ kind: 'sparse', share: 1, topK: { from: 4, to: 1 } }])

  test('holds each value for an equal part of the stage', () => {
    expect(Array.from({ length: 8 }, (_, tokens) => schedule.at(tokens, 8).topK)).toEqual([4, 4, 3, 3, 2, 2, 1, 1])
    expect(schedule.at(8, 8).topK).toBe(1)
  })

  test('never rises within a stage and stays an integer between its ends', () => {
    fc.assert(
      fc.property(stageLists, totals, (stages, total) => {
        const schedule = new SparsitySchedule(stages)
        const points = Array.from({ length: total + 1 }, (_, tokens) => schedule.at(tokens, total))
        for (const [tokens, point] of points.entries()) {
          const stage = stages[point.stage]
          const before = points[tokens - 1]
          if (before?.stage === point.stage) expect(point.topK).toBeLessThanOrEqual(before.topK)
          if (stage.kind === 'dense') expect(point).toMatchObject({ dense: true, topK: 0 })
          else {
            const { from, to } = typeof stage.topK === 'number' ? { from: stage.topK, to: stage.topK } : stage.topK
            expect(Number.isInteger(point.topK) && point.topK >= to && point.topK <= from).toBe(true)
            expect(point.dense).toBe(false)
            if (before?.stage !== point.stage) expect(point.topK).toBe(from)
          }
          expect(point.distillation).toBe(stage.distillation)
        }
      }),
      { numRuns: 30 },
    )
  })
})

describe('stages', () => {
  test('cover 0 to total without gaps, in order', () => {
    fc.assert(
      fc.property(stageLists, totals, (stages, total) => {
        const schedule = new SparsitySchedule(stages)
        const ends = schedule.ends(total)
        expect(ends).toEqual([...ends].sort((left, right) => left - right))
        expect(ends.at(-1)).toBe(total)
        for (let tokens = 0; tokens < total; tokens++) {
          const { stage } = schedule.at(tokens, total)
          expect(tokens).toBeLessThan(ends[stage])
          expect(tokens).toBeGreaterThanOrEqual(stage === 0 ? 0 : ends[stage - 1])
        }
        expect(schedule.at(total, total).stage).toBe(schedule.at(total - 1, total).stage)
      }),
      { numRuns: 30 },
    )
  })

  test('in tokens keep their length; the last is stretched, later ones are cut', () => {
    const schedule = new SparsitySchedule([
      { kind: 'dense', tokens: 100 },
      { kind: 'sparse', tokens: 50, topK: 8 },
      { kind: 'sparse', tokens: 50, topK: 2 },
    ])
    expect(schedule.ends(1000)).toEqual([100, 150, 1000])
    expect(schedule.ends(120)).toEqual([100, 120, 120])
    expect(schedule.at(120, 120)).toMatchObject({ stage: 1, topK: 8 })
    expect(schedule.at(0, 0)).toMatchObject({ stage: 0 })
  })

  test('are a copy that the caller cannot change', () => {
    const stages: SparsityStage[] = [{ kind: 'dense', share: 1 }]
    const schedule = new SparsitySchedule(stages)
    stages.push({ kind: 'dense', share: 1 })
    expect(schedule.stages).toHaveLength(1)
  })

  test.each([-1, 1.5, Number.NaN])('progress of %d tokens is refused', (tokens) => {
    expect(() => defaultSchedule().at(tokens, 10)).toThrow(`tokens is ${tokens}`)
    expect(() => defaultSchedule().ends(tokens)).toThrow(`total is ${tokens}`)
  })
})

describe('JSON', () => {
  test('brings any schedule back', () => {
    fc.assert(
      fc.property(stageLists, (stages) => {
        const schedule = new SparsitySchedule(stages)
        const text = JSON.stringify(schedule)
        expect(parseSchedule(JSON.parse(text)).stages).toEqual(stages)
        expect(JSON.stringify(parseSchedule(JSON.parse(text)))).toBe(text)
      }),
    )
  })

  const sparse = { kind: 'sparse', share: 1, topK: 2 }
  test.each([
    ['stages', null, /an object with a list of stages/],
    ['stages', [], /an object with a list of stages/],
    ['stages', { stages: [] }, /stages is \[\]; give a list of at least one stage/],
    [
      'stages',
      {
        stages: [
          { ...sparse, share: 0.5 },
          { kind: 'dense', tokens: 5 },
        ],
      },
      /some stages have a share and others tokens/,
    ],
    ['share', { stages: [{ ...sparse, share: 0.5 }] }, /sum to 0.5; they must sum to 1/],
    ['stages[0]', { stages: ['dense'] }, /stages\[0\] is "dense"; a stage is an object/],
    ['stages[0].kind', { stages: [{ share: 1 }] }, /kind is missing: not dense or sparse/],
    ['stages[0].length', { stages: [{ ...sparse, length: 3 }] }, /length is 3: no setting of a stage/],
    ['stages[0].share', { stages: [{ kind: 'dense' }] }, /neither share nor tokens/],
    ['stages[0].share', { stages: [{ ...sparse, tokens: 5 }] }, /both share and tokens/],
    ['stages[0].share', { stages: [{ ...sparse, share: 0 }] }, /share is 0: not a number above 0/],
    ['stages[0].tokens', { stages: [{ kind: 'dense', tokens: 0.5 }] }, /tokens is 0.5: not a positive whole number/],
    ['stages[0].topK', { stages: [{ kind: 'sparse', share: 1 }] }, /topK is missing: not an integer from 0 to 64/],
    ['stages[0].topK', { stages: [{ ...sparse, topK: 65 }] }, /topK is 65/],
    ['stages[0].topK', { stages: [{ ...sparse, topK: { from: 1, to: 4 } }] }, /topK is {"from":1,"to":4}.*from >= to/],
    ['stages[0].topK', { stages: [{ ...sparse, topK: { from: 70, to: 4 } }] }, /topK is {"from":70,"to":4}/],
    ['stages[0].topK', { stages: [{ kind: 'dense', share: 1, topK: 4 }] }, /not for a dense stage/],
    ['stages[0].distillation', { stages: [{ ...sparse, distillation: 1 }] }, /distillation is 1: not true or false/],
  ])('an error names %s', (setting, json, message) => {
    const error = errorOf(() => parseSchedule(json))
    expect(error).toBeInstanceOf(InvalidConfigError)
    expect(error).toMatchObject({ setting })
    expect(error.message).toMatch(message)
  })
})
