import { attentionSpec, PHSA_32K, phsaConfig } from '@phsa/core'
import { runConformance } from '@phsa/core/testing'
import type { CudaModelBackend } from '@phsa/kernels-cuda'
import { NormalPool } from '../attention/normal-pool.js'
import { copyRate } from './copy-rate.js'
import { decodeData, PAGE_TOKENS } from './decode-cache.js'
import type { DecodeResult, DecodeRow } from './decode-result.js'
import { measureDecode, type PlannedDecode } from './measure-decode.js'

/** What is measured and who hears of it. */
export interface BenchDecode {
  readonly create: () => Promise<CudaModelBackend>
  readonly commit?: string
  /** Short sequences, to see that everything works. */
  readonly small: boolean
  /** What would begin after so many seconds is left out. */
  readonly seconds: number
  /** Takes the result so far, after each row. */
  readonly write: (result: DecodeResult) => void
  readonly log: (line: string) => void
}

const SPEC = attentionSpec(phsaConfig({ topK: 16 }, PHSA_32K), { heads: 16, kvHeads: 8, headDim: 128, dtype: 'bf16' })
const COPIED_BYTES = 2 ** 30

/** Lengths are one more than a multiple of the block size: the token that is appended over and over begins a block. */
const PLAN: readonly PlannedDecode[] = [1, 8, 64].flatMap((batch) => [32768, 131072].map((tokens) => ({ batch, length: tokens + 1 })))
const SMALL_PLAN: readonly PlannedDecode[] = [1, 3].map((batch) => ({ batch, length: 4096 + 1 }))

/**
 * Paged cases of the conformance suite; then each batch and length, sparse and dense, after a comparison with float64.
 * @throws BackendUnavailableError where there is no GPU
 */
export async function benchDecode({ create, commit, small, seconds, write, log }: BenchDecode): Promise<DecodeResult> {
  const started = performance.now()
  const report = await runConformance({ name: 'cuda', create, filter: ({ name }) => name.startsWith('bf16/paged/') })
  const failed = report.cases.filter(({ outcome }) => outcome === 'failed').map(({ name }) => name)
  const backend = await create()
  try {
    log(`${backend.device}; conformance: ${report.passed} cases passed, ${failed.length} failed`)
    const rows: DecodeRow[] = []
    const result: DecodeResult = {
      format: 'phsa-decode/1',
      createdAt: new Date().toISOString(),
      ...(commit === undefined ? {} : { commit }),
      device: backend.device,
      copyBytes: copyRate(backend, small ? COPIED_BYTES / 64 : COPIED_BYTES),
      conformance: { passed: report.passed, failed },
      rows,
    }
    const pool = new NormalPool(11)
    const data = decodeData(backend, SPEC, pool)
    for (const plan of small ? SMALL_PLAN : PLAN) {
      const isOver = (performance.now() - started) / 1000 > seconds
      const measured = isOver
        ? unmeasured(plan, 'left-out', 'the time for this program was over')
        : await tried(() => measureDecode(backend, SPEC, data, pool, plan), plan)
      rows.push(...measured)
      write(result)
      for (const row of measured) log(describe(row, result.copyBytes))
    }
    return result
  } finally {
    backend.dispose()
  }
}

async function tried(measure: () => Promise<DecodeRow[]>, plan: PlannedDecode): Promise<readonly DecodeRow[]> {
  try {
    return await measure()
  } catch (error) {
    return unmeasured(plan, 'failed', error instanceof Error ? error.message : String(error))
  }
}

function unmeasured(plan: PlannedDecode, outcome: 'failed' | 'left-out', reason: string): DecodeRow[] {
  return [false, true].map((dense) => ({ ...plan, dense, spec: SPEC, pageTokens: PAGE_TOKENS, outcome, reason }))
}

function describe({ batch, length, dense, outcome, reason, checks, layers, times, bytes }: DecodeRow, copyBytes: number): string {
  const title = `batch ${batch}, ${length} keys, ${dense ? 'dense' : 'sparse'}`
  if (outcome === 'wrong') return `${title}: WRONG: ${checks?.filter(({ ok }) => !ok).map(({ name, measured }) => `${name} ${measured}`)}`
  if (outcome !== 'measured') return `${title}: ${outcome}: ${reason}`
  const figures = Object.entries(times ?? {}).map(([phase, { milliseconds }]) => {
    const rate = (bytes?.[phase as keyof typeof bytes] ?? 0) / milliseconds / 1e-3
    return `${phase} ${(milliseconds * 1e3).toFixed(1)} us (${((100 * rate) / copyBytes).toFixed(0)} %)`
  })
  return `${title}, ${layers} caches: ${figures.join(', ')}`
}
