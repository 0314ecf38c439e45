import { isPhsaError } from '@phsa/core'
import { type ConformanceCase, runConformance } from '@phsa/core/testing'
import { checkModel } from '../model/model-gate.js'
import { cudaEngine, type Engine, webgpuEngine } from './engine.js'
import { attentionProblems, measureAttention } from './measure-attention.js'
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
    const isGateCase = ({ name, flops }: ConformanceCase) =>
      new RegExp(`^${engine.dtype}/(pool|select|attend|attend-backward|nan-poison|ops|paged)/`).test(name) && flops <= plan.mostCaseFlops
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

    if (groups.includes('attention')) {
      const problemOf = attentionProblems()
      for (const each of plan.attention) {
        // Dense attention of twice the length takes four times as long; about ten passes are run.
        const known = attention.findLast((row) => row.attention === 'dense' && row.engine === 'webgpu' && row.outcome === 'measured')
        const one =
          each.attention === 'dense' && known ? ((known.times?.both?.milliseconds ?? 0) / 1e3) * (each.length / known.length) ** 2 : 0
        for (const on of engines) {
          const spec = specOf(each, on.dtype)
          const row: AttentionRow =
            left() < one * 10
              ? { engine: on.name, length: each.length, attention: each.attention, spec, outcome: 'left-out', reason: TIME_IS_OVER }
              : await measureAttention(on, problemOf(spec, each.length), spec, each.attention)
          attention.push(row)
          update()
          log(`${describeAttention(row)}; ${left().toFixed(0)} s left`)
        }
      }
    }

    if (groups.includes('model')) {
      update({ modelGate: await checkModel(engine.backend, engine.dtype === 'f16' ? ['f32', 'f16'] : ['f32']) })
      for (const { name, measured, bound, ok } of result.modelGate) log(`${ok ? 'right' : 'WRONG'} ${name}: ${measured}, bound ${bound}`)
      const isRight = result.modelGate.every(({ ok }) => ok)
      for (const each of engines) {
        const opened = openModel(each, plan.model)
        try {
          for (const row of plan.modelRows) {
            const base = { engine: each.name, dtype: each.dtype, ...row }
            if (!isRight) model.push({ ...base, outcome: 'wrong', reason: 'the small model is out of bounds' })
            else model.push(left() > 0 ? await opened.measure(row) : { ...base, outcome: 'left-out', reason: TIME_IS_OVER })
            update()
            log(`${describeModel(model[model.length - 1])}; ${left().toFixed(0)} s left`)
          }
        } finally {
          opened.dispose()
        }
      }
    }
    return result
  } finally {
    for (const { backend } of engines) backend.dispose()
  }
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
