import { isPhsaError } from '@phsa/core'
import { type ConformanceCase, runConformance } from '@phsa/core/testing'
import type { CudaModelBackend } from '@phsa/kernels-cuda'
import { AttentionDataSource } from './attention-data.js'
import type { DeviceResult, DeviceRow } from './device-result.js'
import { WARM_UP } from './device-timing.js'
import { checkFlatMemory } from './flat-memory.js'
import { measureProblem } from './measure-problem.js'
import { type PlannedProblem, plannedProblems, type RowGroup, smallProblems } from './table-rows.js'

/** What is measured and who hears of it. */
export interface BenchAttention {
  readonly create: () => Promise<CudaModelBackend>
  readonly commit?: string
  /** Short sequences and few calls, to see that everything works. */
  readonly small: boolean
  readonly groups: readonly RowGroup[]
  /** Least and largest length of a sequence that is measured. */
  readonly from: number
  readonly to: number
  /** What would not be done after so many seconds is left out. */
  readonly seconds: number
  /** Takes the result so far, after each row. */
  readonly write: (result: DeviceResult) => void
  readonly log: (line: string) => void
}

/** Calls of the memory check. */
const CALLS = { small: 80, usual: 10_000 } as const
/** Cases with more work than this take the reference seconds. */
const MOST_CASE_FLOPS = 6e6

/**
 * Cases of the conformance suite, gradients among them; then every row, each after its own comparison with float64. The memory check comes after
 * the table's rows, and not without them.
 * @throws BackendUnavailableError where there is no GPU
 */
export async function benchAttention({
  create,
  commit,
  small,
  groups,
  from: least,
  to: most,
  seconds,
  write,
  log,
}: BenchAttention): Promise<DeviceResult> {
  const started = performance.now()
  const elapsed = () => (performance.now() - started) / 1000
  // Of the problem that got through its numbers fastest: what it costs besides weighs least there.
  let secondsOfOne = 0
  const backend = await create()
  const report = await runConformance({ name: 'cuda', create, filter: isGateCase })
  const failed = report.cases.filter(({ outcome }) => outcome === 'failed').map(({ name }) => name)
  log(`${backend.device}; conformance: ${report.passed} cases passed, ${failed.length} failed`)
  const rows: DeviceRow[] = []
  let result: DeviceResult = {
    format: 'phsa-attention/1',
    createdAt: new Date().toISOString(),
    ...(commit === undefined ? {} : { commit }),
    device: backend.device,
    warmUp: WARM_UP,
    conformance: { passed: report.passed, failed },
    rows,
  }
  const update = (change: Partial<DeviceResult>) => {
    result = { ...result, ...change }
    write(result)
  }
  const source = new AttentionDataSource()
  const planned = small ? smallProblems(groups) : plannedProblems(groups)
  const problems = planned.filter(({ length }) => length >= least && length <= most)
  const checksMemory = groups.includes('table')
  try {
    for (const problem of problems) {
      // After the table and before the curves, which matter less.
      if (checksMemory && problem.group !== 'table' && !result.memory) update({ memory: await checkMemory(backend, small, log) })
      if (elapsed() + secondsOfOne * sizeOf(problem) > seconds) {
        rows.push(...leftOut(problem))
        continue
      }
      const from = elapsed()
      for await (const row of measureProblem(backend, source, problem)) {
        rows.push(row)
        update({ rows })
        log(describe(row))
      }
      const rate = (elapsed() - from) / sizeOf(problem)
      secondsOfOne = secondsOfOne === 0 ? rate : Math.min(secondsOfOne, rate)
      log(`  ${(elapsed() - from).toFixed(1)} s, ${elapsed().toFixed(0)} s in all`)
    }
    update({ rows, ...(checksMemory && !result.memory ? { memory: await checkMemory(backend, small, log) } : {}) })
    return result
  } finally {
    backend.dispose()
  }
}

/** Attention of the types and windows that are measured, small enough for the reference. */
function isGateCase({ name, flops }: ConformanceCase): boolean {
  return /^bf16\/(pool|select|attend|attend-backward|nan-poison)\//.test(name) && flops <= MOST_CASE_FLOPS
}

async function checkMemory(backend: CudaModelBackend, small: boolean, log: (line: string) => void) {
  const memory = await checkFlatMemory(backend, small ? CALLS.small : CALLS.usual)
  log(`memory over ${memory.calls} calls: ${memory.flat ? 'flat' : 'NOT FLAT'}`)
  return memory
}

/** Numbers of a problem that are made, uploaded and compared: its inputs once, and as many for each spec. */
function sizeOf({ length, specs }: PlannedProblem): number {
  const [{ heads, kvHeads, headDim }] = specs
  return length * (heads + 2 * kvHeads) * headDim * (1 + specs.length)
}

function leftOut({ specs, group, length, data }: PlannedProblem): DeviceRow[] {
  return specs.map((spec) => ({ group, length, data, spec, outcome: 'left-out', reason: 'the time for this program was over' }))
}

function describe({ spec, length, data, outcome, reason, gate, overlap, times }: DeviceRow): string {
  const title = `${spec.heads}/${spec.kvHeads} L ${length} m ${spec.blockSize} topK ${spec.topK} ${spec.score}, data ${data}`
  if (outcome === 'wrong') return `${title}: WRONG: ${gate?.failed.map(({ name, measured }) => `${name} ${measured}`).join(', ')}`
  if (outcome !== 'measured') return `${title}: ${outcome}: ${reason}`
  const figures = Object.entries(times ?? {}).map(([name, { milliseconds }]) => `${name} ${milliseconds.toFixed(3)}`)
  return `${title}: ${figures.join(', ')} ms; overlap ${overlap === undefined ? '-' : overlap.toFixed(2)}`
}

/** Why the program cannot run here, in words; undefined for any other error. */
export function unavailableReason(error: unknown): string | undefined {
  return isPhsaError(error, 'backend-unavailable') ? error.message : undefined
}
