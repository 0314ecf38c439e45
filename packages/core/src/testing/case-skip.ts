import type { AttentionBackend } from '../contract/attention-backend.js'
import { InvalidConfigError } from '../errors/invalid-config-error.js'
import { casePattern } from './case-pattern.js'

/** Cases that a backend is not put through, and why. */
export interface CaseSkip {
  /** For the report; must not be empty. */
  readonly reason: string
  /** Names with `*` for any characters; each must match a case. */
  readonly cases: readonly string[]
  /** Default: always. */
  readonly when?: (backend: AttentionBackend) => boolean
}

/**
 * Checks that every skip has a reason and matches something, so that none outlives its cause.
 * @throws InvalidConfigError
 */
export function assertSkips(skips: readonly CaseSkip[], names: readonly string[]): void {
  for (const { reason, cases } of skips) {
    if (reason.trim() === '')
      throw new InvalidConfigError('skip', `the skip of ${cases.join(', ')} has no reason; say why the backend cannot run these cases.`)
    if (cases.length === 0) throw new InvalidConfigError('skip', `the skip "${reason}" names no cases; list their names or patterns.`)
    for (const glob of cases) {
      if (names.some(casePattern(glob))) continue
      throw new InvalidConfigError(
        'skip',
        `the skip "${reason}" names ${glob}, which matches none of the ${names.length} cases; remove or correct it.`,
      )
    }
  }
}

/** Why a case is skipped for this backend, if it is. */
export function skipReason(skips: readonly CaseSkip[], name: string, backend: AttentionBackend): string | undefined {
  return skips.find(({ cases, when }) => cases.some((glob) => casePattern(glob)(name)) && (when?.(backend) ?? true))?.reason
}
