import { isPhsaError } from '@phsa/core'
import { type ConformanceCase, runConformance } from '@phsa/core/testing'
import { checkModel } from '../model/model-gate.js'
import { cudaEngine, type Engine, webgpuEngine } from './engine.js'
import { attentionProblems, openAttention } from './measure-attention.js'
import { openModel } from './measure-model.js'
import { measureProduct, measureTfjsProduct } from './measure-products.js'
import { specOf, type WebgpuGroup, type WebgpuPlan } from './webgpu-plan.js'
import type { AttentionRow, ModelRow, ProductRow, WebgpuResult } from './webgpu-result.js'

/** What is measured and who hears of it. */
export interface BenchWebgpu {
  readonly plan: WebgpuPlan
  readonly groups: readonly WebgpuGroup[]
  readonly dawnFlags: readonly string[]
  readonly commit?: string
  /** No row is started after so many seconds. */
  readonly seconds: number
  /** Takes the result so far, after each row. */
  readonly write: (result: WebgpuResult) => void
  readonly log: (line: string) => void
}

const TIME_IS_OVER = 'the time for this program was over'

/**
 * Cases of the conformance suite; then matrix products, attention and a model, each on WebGPU and, where there is CUDA, on CUDA in the same process, and each
 * after its own comparison with float64.
 * @throws BackendUnavailableError where there is no WebGPU
 */
export async function benchWebgpu({ plan, groups, dawnFlags, commit, seconds, write, log }: BenchWebgpu): Promise<WebgpuResult> {
  const started = performance.now()
  const left = () => seconds - (performance.now() - started) / 1000
  const engine = await webgpuEngine(dawnFlags)
  const cuda = await optional(cudaEngine, log)
  const engines: readonly Engine[] = cuda ? [engine, cuda] : [engine]
  const products: ProductRow[] = []
  const attention: AttentionRow[] = []
  const model: ModelRow[] = []
  let result: WebgpuResult = {
    format: 'phsa-webgpu/1',
    createdAt: new Date().toISOString(),
    ...(commit === undefined ? {} : { commit }),
    device: engine.backend.device,
    ...(cuda ? { cuda: cuda.backend.device } : {}),
    dawnFlags,
    conformance: { passed: 0, failed: [] },
    products,
    attention,
    modelGate: [],
    model,
  }
  const update = (change: Partial<WebgpuResult> = {}) => {
    result = { ...result, ...change }
    write(result)
  }
  try {
    const prefix = `${engine.dtype}/`
    const isGateCase = ({ name, flops }: ConformanceCase) =>
      name.startsWith(prefix) && plan.gate.pattern.test(name.slice(prefix.length)) && flops <= plan.gate.mostFlops
    const report = await runConformance({ name: 'webgpu', create: async () => (await webgpuEngine(dawnFlags)).backend, filter: isGateCase })
    const failed = report.cases.filter(({ outcome }) => outcome === 'failed').map(({ name }) => name)
    update({ conformance: { passed: report.passed, failed } })
    log(
      `${engine.backend.device}; conformance: ${report.passed} cases passed, failed: ${failed.join(', ') || 'none'}; ${left().toFixed(0)} s left`,
    )

    if (groups.includes('products')) {
      const add = (row: ProductRow) => {
        products.push(row)
        update()
        log(describeProduct(row))
      }
      for (const each of engines) {
        for (const dtype of new Set([each.dtype, 'f32'] as const)) add(await measureProduct(each, dtype, plan.productSize))
      }
      add(await measureTfjsProduct(dawnFlags, plan.productSize))
    }

    const problemOf = attentionProblems()
    // Neighbours in the plan that have a length in common share their inputs.
    const measureLengths = async (plans: WebgpuPlan['attention']) => {
      for (let from = 0; from < plans.length; ) {
        const { length } = plans[from]
        const end = plans.findIndex((each, index) => index > from && each.length !== length)
        const same = plans.slice(from, end < 0 ? plans.length : end)
        for (const on of engines) await measureLength(on, length, same)
        from += same.length
      }
    }
    const measureLength = async (on: Engine, length: number, plans: WebgpuPlan['attention']) => {
      const add = (row: AttentionRow) => {
        attention.push(row)
        update()
        log(`${describeAttention(row)}; ${left().toFixed(0)} s left`)
      }
      const rowOf = (each: (typeof plans)[number]) => ({ engine: on.name, length, attention: each.attention, spec: specOf(each, on.dtype) })
      const isOver = (each: (typeof plans)[number]) => left() < expectedSeconds(each, attention)
      if (plans.every(isOver)) {
        for (const each of plans) add({ ...rowOf(each), outcome: 'left-out', reason: TIME_IS_OVER })
        return
      }
      const spec = specOf(plans[0], on.dtype)
      const opened = openAttention(on, problemOf(spec, length), spec)
      try {
        for (const each of plans) {
          const { spec, ...row } = rowOf(each)
          if (isOver(each)) add({ ...row, spec, outcome: 'left-out', reason: TIME_IS_OVER })
          else add(await opened.measure(spec, each.attention))
        }
      } finally {
        opened.dispose()
      }
    }
    const measureModel = async (on: Engine) => {
      const opened = openModel(on, plan.model)
      try {
        for (const row of plan.modelRows) {
          const base = { engine: on.name, dtype: on.dtype, ...row }
          model.push(left() > 0 ? await opened.measure(row) : { ...base, outcome: 'left-out', reason: TIME_IS_OVER })
          update()
          log(`${describeModel(model[model.length - 1])}; ${left().toFixed(0)} s left`)
        }
      } finally {
        opened.dispose()
      }
    }

    const [first] = plan.attention
    const isFirst = ({ length }: (typeof plan.attention)[number]) => length === first.length
    if (groups.includes('attention')) await measureLengths(plan.attention.filter(isFirst))
    let isRight = true
    if (groups.includes('model')) {
      update({ modelGate: await checkModel(engine.backend, engine.dtype === 'f16' ? ['f32', 'f16'] : ['f32']) })
      for (const { name, measured, bound, ok } of result.modelGate) log(`${ok ? 'right' : 'WRONG'} ${name}: ${measured}, bound ${bound}`)
      isRight = result.modelGate.every(({ ok }) => ok)
      if (isRight) await measureModel(engine)
    }
    if (groups.includes('attention')) await measureLengths(plan.attention.filter((each) => !isFirst(each)))
    if (groups.includes('model') && isRight && cuda) await measureModel(cuda)
    return result
  } finally {
    for (const { backend } of engines) backend.dispose()
  }
}

/** Dense attention of twice the length takes four times as long, and about ten passes are run. 0 where nothing is known. */
function expectedSeconds({ length, attention }: WebgpuPlan['attention'][number], rows: readonly AttentionRow[]): number {
  const known = rows.findLast((row) => row.attention === 'dense' && row.engine === 'webgpu' && row.outcome === 'measured')
  if (attention === 'phsa' || !known) return 0
  return ((10 * (known.times?.both?.milliseconds ?? 0)) / 1e3) * (length / known.length) ** 2
}

async function optional<T>(open: () => Promise<T>, log: (line: string) => void): Promise<T | undefined> {
  try {
    return await open()
  } catch (error) {
    if (!isPhsaError(error, 'backend-unavailable')) throw error
    log(`without CUDA: ${error.message}`)
    return undefined
  }
}

function describeProduct({ engine, dtype, size, outcome, reason, check, time, flops }: ProductRow): string {
  const title = `${engine} ${dtype} ${size}^3`
  if (outcome !== 'measured') return `${title}: ${outcome}: ${reason ?? check?.measured}`
  return `${title}: ${time?.milliseconds.toFixed(3)} ms, ${((flops ?? 0) / 1e12).toFixed(2)} TFLOP/s, error ${check?.measured.toExponential(1)}`
}

function describeAttention({ engine, length, attention, spec, outcome, reason, gate, overlap, times }: AttentionRow): string {
  const title = `${engine} ${spec.dtype} L ${length} ${attention} ${attention === 'phsa' ? spec.score : ''}`
  if (outcome === 'wrong') return `${title}: WRONG: ${gate?.failed.map(({ name, measured }) => `${name} ${measured}`).join(', ')}`
  if (outcome !== 'measured') return `${title}: ${outcome}: ${reason}`
  const figures = Object.entries(times ?? {}).map(([name, { milliseconds }]) => `${name} ${milliseconds.toFixed(3)}`)
  return `${title}: ${figures.join(', ')} ms; overlap ${overlap?.toFixed(2) ?? '-'}`
}

function describeModel({ engine, dtype, what, attention, length, sequences, outcome, reason, time, tokensPerSecond }: ModelRow): string {
  const title = `${engine} ${dtype} ${what} ${attention} ${length} x ${sequences}`
  if (outcome !== 'measured') return `${title}: ${outcome}: ${reason}`
  return `${title}: ${time?.milliseconds.toFixed(2)} ms, ${tokensPerSecond?.toFixed(0)} tokens/s`
}
