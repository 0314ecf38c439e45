import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { AttentionBackend } from '../contract/attention-backend.js'
import { isPhsaError } from '../errors/phsa-error.js'
import { casePattern } from './case-pattern.js'
import { assertSkips, type CaseSkip } from './case-skip.js'
import { conformanceCases } from './conformance-cases.js'
import { type CaseResult, conformanceReport, countsText, failureText } from './conformance-report.js'
import { ConformanceSession } from './conformance-session.js'
import { isRequiredBackend } from './required-backend.js'

export interface DescribeBackendOptions {
  readonly create: () => Promise<AttentionBackend>
  readonly skip?: readonly CaseSkip[]
  /** Patterns of case names; default: all. */
  readonly filter?: string | readonly string[]
}

/**
 * The conformance suite as vitest tests, one a case. Where the backend is unavailable all are skipped with its reason, or fail when
 * PHSA_REQUIRE_BACKEND names it.
 * @throws InvalidConfigError for a skip without reason or without a matching case
 */
export function describeBackend(name: string, { create, skip = [], filter = '*' }: DescribeBackendOptions): void {
  const all = conformanceCases()
  assertSkips(
    skip,
    all.map((conformanceCase) => conformanceCase.name),
  )
  describe(`conformance: ${name}`, () => {
    let session: ConformanceSession | undefined
    let unavailable = ''
    const results: CaseResult[] = []
    beforeAll(async () => {
      try {
        session = await ConformanceSession.open(create, skip)
      } catch (error) {
        if (!isPhsaError(error, 'backend-unavailable') || isRequiredBackend(name)) throw error
        unavailable = error.message
      }
    })
    afterAll(() => {
      if (!session) return
      const report = conformanceReport(name, session.backend.device, results)
      console.info(`${name}: ${countsText(report)}`)
      for (const [reason, count] of Object.entries(report.skipReasons)) console.info(`${name}: skipped ${count}: ${reason}`)
      session.close()
    })
    const patterns = [filter].flat().map(casePattern)
    for (const conformanceCase of all.filter(({ name: caseName }) => patterns.some((matches) => matches(caseName)))) {
      test(conformanceCase.name, async (context) => {
        // Nothing to open the backend on; the reason is its own message, and where PHSA_REQUIRE_BACKEND names it, it is a failure.
        if (!session) return context.skip(unavailable)
        const result = await session.run(conformanceCase)
        results.push(result)
        // The case is in `skip`, with its reason, or the backend says that its capabilities end before it.
        if (result.outcome === 'skipped') return context.skip(result.reason)
        expect(result.outcome, failureText(result)).toBe('passed')
      })
    }
    test('at least one case runs', (context) => {
      // As above: there is no device, and the message says which.
      if (!session) return context.skip(unavailable)
      expect(results.filter(({ outcome }) => outcome !== 'skipped').length, `${name} refused every case`).toBeGreaterThan(0)
    })
  })
}
