import type { TensorCheck } from './tensor-check.js'

/** What became of one case. */
export interface CaseResult {
  readonly name: string
  readonly outcome: 'passed' | 'failed' | 'skipped'
  /** Why it was skipped, or the error that it threw. */
  readonly reason?: string
  /** Skipped because the backend lacks the type or the ops, or `supports` says no; absent where the caller skips it. */
  readonly refused?: true
  /** Each comparison with its measured error and bound. */
  readonly checks: readonly TensorCheck[]
  /** Wall time of the case with the reference's share, for the curious: no benchmark. */
  readonly milliseconds: number
  readonly flops: number
}

/** The outcome of the whole suite on one backend. Plain JSON. */
export interface ConformanceReport {
  /** The name it was run under. */
  readonly name: string
  /** Its device in words; absent where the backend is unavailable. */
  readonly device?: string
  /**
   * - `passed`: no case failed and at least one ran
   * - `failed`: a case failed, or the backend is unavailable and was required
   * - `nothing-ran`: every case was skipped
   * - `unavailable`: the backend does not work here, for `reason`
   */
  readonly verdict: 'passed' | 'failed' | 'nothing-ran' | 'unavailable'
  readonly reason?: string
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  /** Of the skipped, those that the backend itself refused: many of them are a small backend, not a sound one. */
  readonly refused: number
  /** Each reason for skipping with the number of its cases. */
  readonly skipReasons: Readonly<Record<string, number>>
  readonly cases: readonly CaseResult[]
}

/** Sums up the cases of a backend that could be made. */
export function conformanceReport(name: string, device: string, cases: readonly CaseResult[]): ConformanceReport {
  const count = (outcome: CaseResult['outcome']) => cases.filter((result) => result.outcome === outcome).length
  const [passed, failed, skipped] = [count('passed'), count('failed'), count('skipped')]
  const refused = cases.filter((result) => result.refused).length
  const skipReasons: Record<string, number> = {}
  for (const { outcome, reason = 'no reason' } of cases) if (outcome === 'skipped') skipReasons[reason] = (skipReasons[reason] ?? 0) + 1
  const verdict = failed > 0 ? 'failed' : passed === 0 ? 'nothing-ran' : 'passed'
  return { name, device, verdict, passed, failed, skipped, refused, skipReasons, cases }
}

/** The counts in one line, for people: `812 passed, 0 failed, 40 skipped (38 of them refused by the backend)`. */
export function countsText({
  passed,
  failed,
  skipped,
  refused,
}: Pick<ConformanceReport, 'passed' | 'failed' | 'skipped' | 'refused'>): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped${refused > 0 ? ` (${refused} of them refused by the backend)` : ''}`
}

/** A case's failed comparisons or its error, one a line. */
export function failureText({ name, reason, checks }: CaseResult): string {
  const lines = checks
    .filter((check) => !check.ok)
    .map(
      (check) =>
        `  ${check.name}: ${check.measured.toPrecision(3)}, allowed ${check.bound.toPrecision(3)}${check.detail ? ` (${check.detail})` : ''}`,
    )
  return [`${name} failed:`, ...(reason === undefined ? [] : [`  ${reason}`]), ...lines].join('\n')
}
