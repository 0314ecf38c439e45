import { elementCount } from '@phsa/core'
import { runConformance, type TensorCheck } from '@phsa/core/testing'
import type { CudaModelBackend } from '@phsa/kernels-cuda'
import { DecoderModel } from '@phsa/model'
import { copyRate } from '../decode/copy-rate.js'
import { uploadWeights } from '../model/bench-weights.js'
import { BENCH_PHSA, QWEN3_06B } from '../model/model-plan.js'
import { checkLayers } from './check-layers.js'
import type { LayersPlan, StepResult } from './step-result.js'
import { type AttentionPlan, timeAttention } from './time-attention.js'
import { timeHalves } from './time-halves.js'
import { timeLayers } from './time-layers.js'
import { timeRecorded } from './time-recorded.js'
import { type StepPlan, timeStep } from './time-step.js'
import { VARIANTS } from './variant-backend.js'

/** What is measured and who hears of it. */
export interface BenchStep {
  readonly create: () => Promise<CudaModelBackend>
  readonly commit?: string
  /** What would begin after so many seconds is left out. */
  readonly seconds: number
  /** Takes the result so far. */
  readonly write: (result: StepResult) => void
  readonly log: (line: string) => void
}

const GATE = /^bf16\/(ops\/(project-heads|finish-layer|qk-norm-rope|linear)|paged\/|capture\/)/
const ROWS = [1, 8, 16, 32, 64]
const COPIED_BYTES = 2 ** 30
const KEYS = 1024
const HEADS_RECORDED = 4

/** Attention by itself; the longest context that is taken at once, and where it must pay, come after the short one. */
const ATTENTION: readonly AttentionPlan[] = [
  { batch: 1, keys: KEYS, attention: 'phsa' },
  { batch: 1, keys: KEYS, attention: 'dense' },
  { batch: 1, keys: 4032, attention: 'phsa' },
  ...[8, 16, 64].map((batch) => ({ batch, keys: KEYS, attention: 'phsa' }) as const),
]

/** All layers at once; two thousand keys are the most for which all that may be chosen is loaded at once. */
const LAYERS: readonly LayersPlan[] = [
  ...[1024, 2000, 4032].map((keys) => ({ keys, attention: 'phsa' }) as const),
  ...[16, 1024, 4032].map((keys) => ({ keys, attention: 'dense' }) as const),
]

/** What is asked for first: batch 1 in every variant. */
const STEPS: readonly StepPlan[] = [
  ...VARIANTS.map((variant) => ({ batch: 1, keys: KEYS, attention: 'phsa', variant }) as const),
  { batch: 1, keys: KEYS, attention: 'dense', variant: 'layers at once' },
  ...[1, 8, 64].map((batch) => ({ batch, keys: KEYS, attention: 'dense', variant: 'usual' }) as const),
  // All layers at once are for one sequence.
  ...[8, 16, 64].flatMap((batch) =>
    VARIANTS.filter((variant) => variant !== 'layers at once').map(
      (variant) => ({ batch, keys: KEYS, attention: 'phsa', variant }) as const,
    ),
  ),
]

/**
 * Conformance first; then, of the Qwen3-0.6B shape: all layers at once, whole steps of decoding, recorded, attention, halves of layers and the output head by rows.
 * @throws BackendUnavailableError where there is no GPU
 */
export async function benchStep({ create, commit, seconds, write, log }: BenchStep): Promise<StepResult> {
  const started = performance.now()
  const isOver = () => (performance.now() - started) / 1000 > seconds
  const report = await runConformance({ name: 'cuda', create, filter: ({ name }) => GATE.test(name) })
  const failed = report.cases.filter(({ outcome }) => outcome === 'failed').map(({ name }) => name)
  const backend = await create()
  try {
    log(`${backend.device}; conformance: ${report.passed} cases passed, ${failed.length} failed ${failed.join(', ')}`)
    const copyBytes = copyRate(backend, COPIED_BYTES)
    const result: StepResult = {
      format: 'phsa-step/3',
      createdAt: new Date().toISOString(),
      ...(commit === undefined ? {} : { commit }),
      device: backend.device,
      copyBytes,
      conformance: { passed: report.passed, failed },
      halves: [],
      heads: [],
      layersChecks: [],
      layers: [],
      attention: [],
      steps: [],
    }
    const parameters = uploadWeights(backend.memory, QWEN3_06B, 'bf16')
    const model = new DecoderModel({ config: QWEN3_06B, backend, phsa: BENCH_PHSA, dtype: 'bf16' }, parameters)
    log(`a copy: ${(copyBytes / 1e12).toFixed(2)} TB/s; weights are there after ${((performance.now() - started) / 1000).toFixed(0)} s`)
    const share = (bytes: number, microseconds: number) => `${((100 * bytes) / copyBytes / (microseconds * 1e-6)).toFixed(0)} % of a copy`
    const wrongOf = (checks: readonly TensorCheck[]) =>
      checks.filter(({ ok }) => !ok).map(({ name, measured }) => ` WRONG ${name} ${measured.toExponential(1)}`)
    const timeSteps = async (isAsked: (plan: StepPlan) => boolean) => {
      for (const plan of STEPS.filter(isAsked)) {
        if (isOver()) break
        const row = await timeStep(backend, parameters, copyBytes, plan)
        result.steps.push(row)
        log(
          `batch ${row.batch}, ${row.keys} keys, ${row.attention}, ${row.variant}: ${row.milliseconds.toFixed(3)} ms, ${(100 * row.floorShare).toFixed(0)} % of the floor`,
        )
        write(result)
      }
    }
    for (const row of await checkLayers(backend, model)) {
      result.layersChecks.push(row)
      log(
        `all layers, ${row.name} from ${row.keys} keys: ${row.checks.map(({ name, measured }) => `${name} ${measured.toExponential(1)}`).join(', ')}${wrongOf(row.checks)}`,
      )
    }
    write(result)
    for (const plan of LAYERS) {
      const row = await timeLayers(backend, model, plan)
      if (!row) continue
      result.layers.push(row)
      log(`all layers, ${row.keys} keys, ${row.attention}: ${row.microseconds.toFixed(2)} us a layer`)
    }
    write(result)
    // Where the backend leaves them, it would be the usual step under another name.
    await timeSteps(({ batch, variant }) => batch === 1 && (variant !== 'layers at once' || result.layers.length > 0))
    for (const plan of ATTENTION) {
      if (isOver()) break
      for (const row of await timeAttention(backend, plan)) {
        result.attention.push(row)
        log(
          `batch ${row.batch}, ${row.keys} keys, ${row.attention}, ${row.name}: ${row.microseconds.toFixed(2)} us a layer${wrongOf(row.checks)}`,
        )
      }
      write(result)
    }
    for (const rows of ROWS) {
      if (isOver()) break
      for (const row of await timeHalves(backend, model, rows)) {
        result.halves.push(row)
        log(
          `${rows} rows, ${row.name}: ${row.microseconds.toFixed(2)} us a layer, ${share(row.bytes, row.microseconds)}${wrongOf(row.checks)}`,
        )
      }
      const hidden = backend.memory.alloc([rows, QWEN3_06B.hiddenSize], 'bf16')
      const { milliseconds } = await timeRecorded(backend, () => {
        for (let index = 0; index < HEADS_RECORDED; index++) backend.ops.linear(hidden, model.head)
      })
      hidden.dispose()
      const head = { rows, microseconds: (milliseconds / HEADS_RECORDED) * 1e3, bytes: 2 * elementCount(model.head.shape) }
      result.heads.push(head)
      log(`${rows} rows, output head: ${head.microseconds.toFixed(1)} us, ${share(head.bytes, head.microseconds)}`)
      write(result)
    }
    await timeSteps(({ batch }) => batch > 1)
    model.dispose()
    return result
  } finally {
    backend.dispose()
  }
}
