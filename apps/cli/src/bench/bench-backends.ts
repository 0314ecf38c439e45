import { type AttentionBackend, isPhsaError, ReferenceBackend } from '@phsa/core'
import type { TensorCheck } from '@phsa/core/testing'
import { isModelBackend } from '../backends.js'
import type { Interruption } from '../interruption.js'
import type { BenchCase, BenchContext } from './bench-case.js'
import type { BenchedBackend, BenchResult } from './bench-report.js'
import type { TimingLimits } from './timing.js'

/** A backend to measure. */
export interface BenchCandidate {
  readonly name: string
  readonly create: () => Promise<AttentionBackend>
}

/** Which cases, how often, and who is told. */
export interface BenchRun {
  readonly cases: readonly BenchCase[]
  readonly limits: TimingLimits
  readonly interruption: Interruption
  /** Called before each part of the work, in words. */
  readonly onProgress: (note: string) => void
}

/**
 * Measures backends one after the other: engines of TensorFlow.js share one global. One that is not available is listed with its reason.
 * @throws the signal's reason when interrupted
 */
export async function benchBackends(candidates: readonly BenchCandidate[], run: BenchRun): Promise<BenchedBackend[]> {
  const benched: BenchedBackend[] = []
  for (const { name, create } of candidates) {
    run.onProgress(`${name}: starting`)
    try {
      const backend = await create()
      try {
        benched.push({ name, available: true, device: backend.device, results: await benchCases(name, backend, run) })
      } finally {
        backend.dispose()
      }
    } catch (error) {
      if (!isPhsaError(error, 'backend-unavailable')) throw error
      benched.push({ name, available: false, reason: error.message })
    }
  }
  return benched
}

async function benchCases(name: string, backend: AttentionBackend, run: BenchRun): Promise<BenchResult[]> {
  const reference = new ReferenceBackend()
  const context: BenchContext<AttentionBackend> = { backend, reference, limits: run.limits, interruption: run.interruption }
  const results: BenchResult[] = []
  try {
    for (const benchCase of run.cases) results.push(await benchOne(name, benchCase, context, run))
    return results
  } finally {
    reference.dispose()
  }
}

/** The order is the point: no figure for what is wrong. */
async function benchOne(
  name: string,
  benchCase: BenchCase,
  context: BenchContext<AttentionBackend>,
  { interruption, onProgress }: BenchRun,
): Promise<BenchResult> {
  const { group, name: title, shape } = benchCase
  const result = { case: title, group, shape, measurements: [] }
  const runnable = bound(benchCase, context)
  if (!runnable) return { ...result, outcome: 'refused', reason: `${name} computes attention only, no ${group} yet` }
  try {
    await interruption.breathe()
    interruption.signal.throwIfAborted()
    onProgress(`${name}: ${title}: comparing with the reference`)
    const checks = await runnable.gate()
    const compared = { ...result, gate: gateOf(checks) }
    if (compared.gate.failed.length > 0 || checks.length === 0) return { ...compared, outcome: 'wrong' }
    onProgress(`${name}: ${title}: timing`)
    return { ...compared, outcome: 'measured', measurements: await runnable.measure() }
  } catch (error) {
    // Others may still work after what one backend does not offer or has no room for; anything else is a bug to be seen.
    if (isPhsaError(error, 'unsupported')) return { ...result, outcome: 'refused', reason: error.message }
    if (isPhsaError(error, 'out-of-memory')) return { ...result, outcome: 'failed', reason: error.message }
    throw error
  }
}

/** A case with what it runs with; undefined where it needs more than the backend has. */
function bound(benchCase: BenchCase, context: BenchContext<AttentionBackend>) {
  if (benchCase.group === 'attention') return { gate: () => benchCase.gate(context), measure: () => benchCase.measure(context) }
  const { backend } = context
  if (!isModelBackend(backend)) return undefined
  const whole = { ...context, backend }
  return { gate: () => benchCase.gate(whole), measure: () => benchCase.measure(whole) }
}

/** The check nearest to its bound says how far from failing all of them were. */
function gateOf(checks: readonly TensorCheck[]): NonNullable<BenchResult['gate']> {
  const nearness = ({ measured, bound }: TensorCheck) => (bound === 0 ? measured : measured / bound)
  const [worst] = [...checks].sort((left, right) => nearness(right) - nearness(left))
  return { checks: checks.length, ...(worst === undefined ? {} : { worst }), failed: checks.filter(({ ok }) => !ok) }
}
