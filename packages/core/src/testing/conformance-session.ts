import type { AttentionBackend } from '../contract/attention-backend.js'
import { assertContract } from '../first-supported.js'
import { reference } from '../reference/reference-backend.js'
import { type CaseSkip, skipReason } from './case-skip.js'
import { isAlone } from './collective-conformance.js'
import { CaseContext, type ConformanceCase, hasOps } from './conformance-case.js'
import type { CaseResult } from './conformance-report.js'
import { OracleStore } from './oracle-store.js'
import { canCapture } from './replayed.js'
import { boundedCheck, type TensorCheck } from './tensor-check.js'

/** A backend under test with the reference beside it. Runs cases one by one. */
export class ConformanceSession {
  readonly backend: AttentionBackend
  readonly #skips: readonly CaseSkip[]
  readonly #context: CaseContext

  private constructor(context: CaseContext, skips: readonly CaseSkip[]) {
    this.backend = context.backend
    this.#skips = skips
    this.#context = context
  }

  /**
   * Makes the backend.
   * @param oracles expected values to share with other sessions
   * @throws BackendUnavailableError as `create` does, ContractVersionError
   */
  static async open(
    create: () => Promise<AttentionBackend>,
    skips: readonly CaseSkip[] = [],
    oracles?: OracleStore,
  ): Promise<ConformanceSession> {
    const backend = await create()
    assertContract(backend)
    return new ConformanceSession(new CaseContext(backend, oracles ?? new OracleStore(await reference()), create), skips)
  }

  /** Why the backend refuses the case, if it does: a type or ops that it lacks, or what `supports` says. */
  refusal({ dtype, needs, part, specs }: ConformanceCase): string | undefined {
    // Every backend holds indices; limits list the types of activations.
    if (dtype !== 'i32' && !this.backend.limits.dtypes.includes(dtype)) return `${this.backend.name} has no ${dtype}`
    if (needs === 'ops' && !hasOps(this.backend)) return `${this.backend.name} has no model ops`
    if (part === 'capture' && !canCapture(this.backend)) return `${this.backend.name} records no steps`
    if (part === 'collective' && !isAlone(this.backend)) return `${this.backend.name} is in no group of one`
    for (const spec of specs) {
      const support = this.backend.supports(spec)
      if (!support.ok) return support.reason
    }
    return undefined
  }

  /** Runs one case. Never rejects: an error is the case's failure. */
  async run(conformanceCase: ConformanceCase): Promise<CaseResult> {
    const { name, flops } = conformanceCase
    const started = performance.now()
    const result = (outcome: CaseResult['outcome'], checks: readonly TensorCheck[], more: Pick<CaseResult, 'reason' | 'refused'> = {}) => {
      return { name, outcome, checks, flops, milliseconds: performance.now() - started, ...more }
    }
    try {
      const skipped = skipReason(this.#skips, name, this.backend)
      if (skipped !== undefined) return result('skipped', [], { reason: skipped })
      const refusal = this.refusal(conformanceCase)
      if (refusal !== undefined) return result('skipped', [], { reason: refusal, refused: true })
      const before = this.backend.memory.usage()
      const checks = await conformanceCase.run(this.#context)
      const after = this.backend.memory.usage()
      checks.push(boundedCheck('tensors left', Math.abs(after.tensors - before.tensors), 0, 'a leak'))
      checks.push(boundedCheck('bytes left', Math.abs(after.bytes - before.bytes), 0, 'a leak'))
      return result(checks.every((check) => check.ok) ? 'passed' : 'failed', checks)
    } catch (error) {
      return result('failed', [], { reason: error instanceof Error ? (error.stack ?? error.message) : String(error) })
    }
  }

  /** Disposes the backend. */
  close(): void {
    this.backend.dispose()
  }
}
