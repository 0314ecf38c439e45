import { afterEach, describe, expect, test, vi } from 'vitest'
import { BackendUnavailableError } from '../../src/errors/backend-unavailable-error.js'
import { reference } from '../../src/reference/reference-backend.js'
import { conformanceCases, countsText, runConformance } from '../../src/testing/index.js'

const FILTER = 'f32/attend/m16-t1*'
const unavailable = async () => {
  throw new BackendUnavailableError('no device here')
}

describe('runConformance', () => {
  afterEach(() => vi.unstubAllEnvs())

  test('case names are unique', () => {
    const names = conformanceCases().map(({ name }) => name)
    expect(new Set(names).size).toBe(names.length)
  })

  test('reports each case with what was measured', async () => {
    const seen: string[] = []
    const report = await runConformance({
      name: 'reference',
      create: () => reference(),
      filter: FILTER,
      onResult: ({ name }) => seen.push(name),
    })
    expect(report).toMatchObject({ verdict: 'passed', failed: 0, skipped: 0, device: 'host, float64' })
    expect(report.passed).toBe(seen.length)
    expect(seen).toContain('f32/attend/m16-t15')
    expect(report.cases[0].checks.find(({ name }) => name === 'out')).toMatchObject({ bound: 2e-5, ok: true })
  })

  test('an unavailable backend is a skip with its reason', async () => {
    const report = await runConformance({ name: 'cuda', create: unavailable, filter: FILTER })
    expect(report).toMatchObject({ verdict: 'unavailable', reason: 'no device here', failed: 0 })
    expect(report.skipReasons).toEqual({ 'no device here': report.cases.length })
  })

  test('but a failure where it is required', async () => {
    vi.stubEnv('PHSA_REQUIRE_BACKEND', 'cuda')
    const report = await runConformance({ name: 'cuda', create: unavailable, filter: FILTER })
    expect(report.verdict).toBe('failed')
    expect(report.failed).toBe(report.cases.length)
    expect((await runConformance({ name: 'webgpu', create: unavailable, filter: FILTER })).verdict).toBe('unavailable')
  })

  test('another error of the factory is passed on', async () => {
    const broken = async () => {
      throw new RangeError('a bug')
    }
    await expect(runConformance({ name: 'x', create: broken })).rejects.toThrow('a bug')
  })

  test('a backend that refuses everything is seen', async () => {
    const create = async () => Object.assign(await reference(), { supports: () => ({ ok: false, reason: 'not today' }) as const })
    const report = await runConformance({ name: 'shy', create, filter: FILTER })
    expect(report).toMatchObject({ verdict: 'nothing-ran', passed: 0, refused: report.cases.length })
    expect(countsText(report)).toBe(`0 passed, 0 failed, ${report.skipped} skipped (${report.skipped} of them refused by the backend)`)
    expect(report.skipReasons).toEqual({ 'not today': report.cases.length })
  })

  test('skips apply when they say so', async () => {
    const skip = [
      { reason: 'too slow', cases: ['*/m16-t101'] },
      { reason: 'never', cases: ['f32/*'], when: () => false },
    ]
    const report = await runConformance({ name: 'reference', create: () => reference(), filter: FILTER, skip })
    expect(report.skipReasons).toEqual({ 'too slow': 1 })
    // The caller left it out; the backend refused nothing.
    expect(report.refused).toBe(0)
  })

  test.each([
    [{ reason: ' ', cases: ['f32/*'] }, 'has no reason'],
    [{ reason: 'why', cases: [] }, 'names no cases'],
    [{ reason: 'why', cases: ['f32/*', 'f99/*'] }, 'f99/*, which matches none'],
  ])('a skip without reason or match is an error', async (skip, message) => {
    const run = runConformance({ name: 'reference', create: () => reference(), filter: FILTER, skip: [skip] })
    await expect(run).rejects.toMatchObject({ code: 'invalid-config', message: expect.stringContaining(message) })
  })
})
