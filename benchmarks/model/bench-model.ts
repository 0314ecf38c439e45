import { isPhsaError } from '@phsa/core'
import type { TensorCheck } from '@phsa/core/testing'
import { DecoderModel } from '@phsa/model'
import type { BenchContext, MeasurableBackend } from './bench-context.js'
import { uploadWeights } from './bench-weights.js'
import { checkFlatTraining } from './flat-training.js'
import { measureMatrixRate } from './matrix-rate.js'
import { measureDecoding } from './measure-decoding.js'
import { measurePrefill } from './measure-prefill.js'
import { measureTraining } from './measure-training.js'
import type { ModelPlan, ModelRowPlan } from './model-plan.js'
import type { ModelFigures, ModelResult, ModelRow } from './model-result.js'
import { NotFiniteError } from './not-finite-error.js'
import { type TimedBackend, timedBackend } from './timed-backend.js'

/** What is measured and who hears of it. */
export interface BenchModel {
  /** The caller disposes it. */
  readonly backend: MeasurableBackend
  readonly plan: ModelPlan
  /** Comparisons before anything is timed. */
  readonly check: (backend: MeasurableBackend) => Promise<readonly TensorCheck[]>
  readonly commit?: string
  /** No row is started after so many seconds. */
  readonly seconds: number
  /** Takes the result so far, after each row. */
  readonly write: (result: ModelResult) => void
  readonly log: (line: string) => void
}

/** Checks, then measures every row. Nothing is measured where a check fails. */
export async function benchModel({ backend, plan, check, commit, seconds, write, log }: BenchModel): Promise<ModelResult> {
  const started = performance.now()
  const left = () => seconds - (performance.now() - started) / 1000
  const gate = await check(backend)
  for (const one of gate) log(`${one.ok ? 'right' : 'WRONG'} ${describeCheck(one)}`)
  const head = {
    format: 'phsa-model/1',
    createdAt: new Date().toISOString(),
    ...(commit === undefined ? {} : { commit }),
    device: backend.device,
  } as const
  const rows: ModelRow[] = []
  if (gate.some(({ ok }) => !ok)) {
    const result: ModelResult = { ...head, parameters: 0, matrixFlops: 0, gate, rows }
    write(result)
    return result
  }
  const context = openContext(backend, plan)
  try {
    const result: ModelResult = { ...head, parameters: context.plain.model.parameterCount, matrixFlops: context.rate.flops, gate, rows }
    log(
      `${backend.device}; ${result.parameters} parameters, ${(result.matrixFlops / 1e12).toFixed(0)} TFLOP/s, ${left().toFixed(0)} s left`,
    )
    for (const row of plan.rows) {
      const needed = expectedSeconds(row, rows)
      const reason = left() <= needed ? `the time for this program was over (${needed.toFixed(0)} s needed)` : undefined
      rows.push(reason === undefined ? await measureRow(context, row) : { ...row, outcome: 'left-out', reason })
      write(result)
      log(`${describeRow(rows[rows.length - 1])}; ${left().toFixed(0)} s left`)
    }
    if (plan.memorySteps === 0) return result
    const training = await checkFlatTraining(backend, plan.memorySteps)
    log(`memory over ${training.calls} training steps: ${training.flat ? 'flat' : 'NOT FLAT'}`)
    const watched = { ...result, training }
    write(watched)
    return watched
  } finally {
    closeContext(context)
  }
}

function openContext(backend: MeasurableBackend, plan: ModelPlan): BenchContext {
  const { config, phsa, dtype } = plan
  const timer = backend.createTimer()
  const rate = measureMatrixRate(backend, timer, plan.productSize, dtype)
  const parameters = uploadWeights(backend.memory, config, dtype)
  const timed = {
    recording: timedBackend(backend, timer, config.vocabSize, true),
    plain: timedBackend(backend, timer, config.vocabSize, false),
  }
  const timedModel = (timed: TimedBackend, recompute: boolean) => ({
    timed,
    model: new DecoderModel({ config, backend: timed.backend, phsa, dtype, recompute }, parameters),
  })
  const models = (recompute: boolean) => ({ recording: timedModel(timed.recording, recompute), plain: timedModel(timed.plain, recompute) })
  return { plan, backend, timer, rate, ...models(false), recomputing: models(true) }
}

function closeContext({ timer, rate, recording, plain, recomputing }: BenchContext): void {
  // The parameters are the same ones: disposing them twice is allowed.
  for (const { model } of [recording, plain, recomputing.recording, recomputing.plain]) model.dispose()
  rate.dispose()
  timer.dispose()
}

async function measureRow(context: BenchContext, row: ModelRowPlan): Promise<ModelRow> {
  try {
    return { ...row, outcome: 'measured', ...(await measure(context, row)) }
  } catch (error) {
    if (!(error instanceof Error) || isPhsaError(error, 'backend-lost')) throw error
    // Its marks are not for the next row.
    for (const { timed } of [context.plain, context.recording]) timed.end()
    if (error instanceof NotFiniteError) return { ...row, outcome: 'wrong', reason: error.message }
    if (isPhsaError(error, 'out-of-memory')) return { ...row, outcome: 'left-out', reason: error.message }
    // A row that stops with an error must not keep the others from being measured, as long as there is a GPU.
    return { ...row, outcome: 'failed', reason: `${error.name}: ${error.message}` }
  }
}

function measure(context: BenchContext, row: ModelRowPlan): Promise<ModelFigures> {
  switch (row.group) {
    case 'prefill':
      return measurePrefill(context, row)
    case 'train':
      return measureTraining(context, row)
    case 'decode':
      return measureDecoding(context, row)
  }
}

/** What four runs of a dense prompt take at most, by a shorter one: its time grows with the square of the length. 0 where nothing is known. */
function expectedSeconds(row: ModelRowPlan, rows: readonly ModelRow[]): number {
  if (row.group !== 'prefill' || row.attention !== 'dense') return 0
  const shorter = rows.findLast(({ group, attention, outcome }) => group === 'prefill' && attention === 'dense' && outcome === 'measured')
  if (shorter?.outcome !== 'measured') return 0
  return (4 * (row.length / shorter.length) ** 2 * shorter.queued.elapsed.milliseconds) / 1e3
}

function describeCheck({ name, measured, bound }: TensorCheck): string {
  return `${name}: ${measured.toExponential(1)}, bound ${bound.toExponential(1)}`
}

function rowDetails(row: ModelRow): string {
  if (row.group === 'decode') return ` x ${row.planned}`
  if (row.group === 'prefill') return ` ${row.form}`
  const { sequences = 1, topK, recompute = false } = row
  return `${sequences > 1 ? ` x ${sequences}` : ''}${topK === undefined ? '' : ` topK ${topK}`}${recompute ? ' recomputing' : ''}`
}

function describeRow(row: ModelRow): string {
  const title = `${row.group} ${row.attention} ${row.length}${rowDetails(row)}`
  if (row.outcome !== 'measured') return `${title}: ${row.outcome}: ${row.reason}`
  const { queued, captured, classes } = row
  const times = (name: string, { elapsed, hostMilliseconds, tokensPerSecond }: typeof queued) =>
    `${name} ${elapsed.milliseconds.toFixed(2)} ms (host ${hostMilliseconds.toFixed(2)}), ${tokensPerSecond.toFixed(0)} tokens/s`
  const shares = Object.entries(classes)
    .sort(([, left], [, right]) => right.milliseconds - left.milliseconds)
    .slice(0, 6)
    .map(([name, { milliseconds }]) => `${name} ${milliseconds.toFixed(2)}`)
  return [`${title}: ${times('queued', queued)}`, ...(captured ? [times('recorded', captured)] : []), shares.join(', ')].join('; ')
}
