import type { AttentionBackend } from '../contract/attention-backend.js'
import { isPhsaError } from '../errors/phsa-error.js'
import { casePattern } from './case-pattern.js'
import { assertSkips, type CaseSkip } from './case-skip.js'
import type { ConformanceCase } from './conformance-case.js'
import { conformanceCases } from './conformance-cases.js'
import { type CaseResult, type ConformanceReport, conformanceReport } from './conformance-report.js'
import { ConformanceSession } from './conformance-session.js'
import { isRequiredBackend } from './required-backend.js'

export interface ConformanceOptions {
  /** Name of the backend in the report and for PHSA_REQUIRE_BACKEND, as in `--backend NAME`. */
  readonly name: string
  /** Makes the backend; it is disposed at the end. */
  readonly create: () => Promise<AttentionBackend>
  /** A pattern of case names, or a choice of cases; default: all. */
  readonly filter?: string | ((conformanceCase: ConformanceCase) => boolean)
  readonly skip?: readonly CaseSkip[]
  /** Called after each case. */
  readonly onResult?: (result: CaseResult) => void
}

/**
 * Runs the suite (spec 11) without a test framework, one case after the other.
 * A backend that rejects with BackendUnavailableError gives the verdict `unavailable`, or `failed` where it is required.
 * @throws InvalidConfigError for a skip without reason or without a matching case; any other error of `create` is passed on
 */
export async function runConformance(options: ConformanceOptions): Promise<ConformanceReport> {
  const { name, create, filter = '*', skip = [], onResult } = options
  const all = conformanceCases()
  assertSkips(
    skip,
    all.map((conformanceCase) => conformanceCase.name),
  )
  const matches = typeof filter === 'string' ? casePattern(filter) : undefined
  const chosen = all.filter((conformanceCase) => (typeof filter === 'string' ? matches?.(conformanceCase.name) : filter(conformanceCase)))
  let session: ConformanceSession
  try {
    session = await ConformanceSession.open(create, skip)
  } catch (error) {
    if (!isPhsaError(error, 'backend-unavailable')) throw error
    return unavailable(name, error.message, chosen)
  }
  try {
    const results: CaseResult[] = []
    for (const conformanceCase of chosen) {
      const result = await session.run(conformanceCase)
      results.push(result)
      onResult?.(result)
    }
    return conformanceReport(name, session.backend.device, results)
  } finally {
    session.close()
  }
}

function unavailable(name: string, reason: string, chosen: readonly ConformanceCase[]): ConformanceReport {
  const required = isRequiredBackend(name)
  const outcome = required ? 'failed' : 'skipped'
  const cases = chosen.map(({ name, flops }) => ({ name, outcome, reason, checks: [], milliseconds: 0, flops }) as const)
  return {
    name,
    verdict: required ? 'failed' : 'unavailable',
    reason: required ? `PHSA_REQUIRE_BACKEND asks for ${name}, which is unavailable: ${reason}` : reason,
    passed: 0,
    failed: required ? cases.length : 0,
    skipped: required ? 0 : cases.length,
    refused: 0,
    skipReasons: required ? {} : { [reason]: cases.length },
    cases,
  }
}
