import { rmSync } from 'node:fs'
import { isPhsaError } from '@phsa/core'
import { DecoderModel } from '@phsa/model'
import { createServer, hashApiKey } from '@phsa/server'
import { copyRate } from '../decode/copy-rate.js'
import type { MeasurableBackend } from '../model/bench-context.js'
import { uploadWeights } from '../model/bench-weights.js'
import { measureRow } from './measure-row.js'
import { openClients } from './open-clients.js'
import { compareRequests } from './same-request.js'
import { SERVE_KEYS, type ServeContext } from './serve-context.js'
import { checkServer } from './serve-gate.js'
import { rowName, type ServePlan, type ServeRowPlan } from './serve-plan.js'
import type { ServeResult, ServeRow } from './serve-result.js'
import { servePunctuation, writeServeTokenizer } from './serve-tokenizer.js'
import { watchSteps } from './step-watch.js'

/** What is measured and who hears of it. */
export interface BenchServe {
  /** The caller disposes it. Its methods are wrapped. */
  readonly backend: MeasurableBackend
  readonly plan: ServePlan
  /** Whether one request is compared with itself alone and among others. */
  readonly compares: boolean
  readonly commit?: string
  /** No row is started after so many seconds. */
  readonly seconds: number
  /** A measured point that takes longer has failed. */
  readonly rowSeconds: number
  /** Takes the result so far, after each row. */
  readonly write: (result: ServeResult) => void
  readonly log: (line: string) => void
}

/**
 * Starts a server as `phsa serve` does, with random weights: the engine in this thread, HTTP in another; clients in a third read streams over HTTP.
 * Compares its tokens with the model's, then measures every row. Nothing is measured where the comparison fails.
 */
export async function benchServe(bench: BenchServe): Promise<ServeResult> {
  const { backend, plan, compares, commit, seconds, rowSeconds, write, log } = bench
  const started = performance.now()
  const elapsed = () => (performance.now() - started) / 1000
  const timer = backend.createTimer()
  const copyBytes = copyRate(backend, plan.copiedBytes)
  const watch = watchSteps(backend, timer)
  const { config, phsa, dtype } = plan
  const model = new DecoderModel({ config, backend, phsa, dtype }, uploadWeights(backend.memory, config, dtype))
  const tokenizerFolder = writeServeTokenizer(config.vocabSize)
  const clients = openClients()
  const server = await createServer({
    model,
    punctuation: servePunctuation(config.vocabSize),
    tokenizerFolder,
    modelName: 'bench-serve',
    port: 0,
    cacheTokens: plan.cacheTokens,
    stepTokens: plan.stepTokens,
    promptTokens: plan.promptTokens,
    api: { keys: SERVE_KEYS.map((name) => ({ name, sha256: hashApiKey(name) })) },
  })
  try {
    const context: ServeContext = { plan, model, server, clients, watch, limitMilliseconds: rowSeconds * 1e3 }
    const rows: ServeRow[] = []
    let result: ServeResult = {
      format: 'phsa-serve/1',
      createdAt: new Date().toISOString(),
      ...(commit === undefined ? {} : { commit }),
      device: backend.device,
      parameters: model.parameterCount,
      weightBytes: model.parameterCount * (dtype === 'bf16' ? 2 : 4),
      copyBytes,
      cacheBytes: server.cacheBytes,
      topK: phsa.topK,
      stepTokens: plan.stepTokens,
      ...(plan.promptTokens === undefined ? {} : { promptTokens: plan.promptTokens }),
      same: [],
      rows,
    }
    log(`${backend.device}; ${result.parameters} parameters, ${(copyBytes / 1e12).toFixed(2)} TB/s; ready after ${elapsed().toFixed(0)} s`)
    const gate = await checkServer(context)
    result = { ...result, gate }
    write(result)
    for (const { name, measured, bound, ok } of gate.checks)
      log(`${ok ? 'right' : 'WRONG'} ${name}: ${measured.toExponential(1)}, bound ${bound}`)
    log(`tokens of generate: ${JSON.stringify(gate.equalTokens)} of ${gate.tokens}; differences ${JSON.stringify(gate.differences)}`)
    if (gate.checks.some(({ ok }) => !ok)) return result
    if (compares) {
      result = { ...result, same: await compareRequests(context) }
      write(result)
      for (const one of result.same) log(JSON.stringify(one))
    }
    for (const row of plan.rows) {
      const isOver = elapsed() > seconds
      rows.push(isOver ? { ...row, outcome: 'left-out', reason: 'the time for this program was over' } : await measured(context, row))
      write(result)
      log(`${describeRow(rows[rows.length - 1], result)}; ${elapsed().toFixed(0)} s`)
    }
    return result
  } finally {
    await clients.close()
    await server.close()
    rmSync(tokenizerFolder, { recursive: true })
    model.dispose()
    timer.dispose()
  }
}

/** A row that fails must not keep the others from being measured, as long as there is a GPU. */
async function measured(context: ServeContext, row: ServeRowPlan): Promise<ServeRow> {
  try {
    return { ...row, outcome: 'measured', ...(await measureRow(context, row)) }
  } catch (error) {
    if (!(error instanceof Error) || isPhsaError(error, 'backend-lost')) throw error
    return { ...row, outcome: 'failed', reason: `${error.name}: ${error.message}` }
  }
}

function describeRow(row: ServeRow, { copyBytes }: ServeResult): string {
  if (row.outcome !== 'measured') return `${rowName(row)}: ${row.outcome}: ${row.reason}`
  const { firstToken, firstTokens, decode, stepBytes } = row
  const { step, device, host, idle, tokensPerSecond } = decode
  const share = (stepBytes / copyBytes / (row.batch / tokensPerSecond)) * 100
  const parts = [
    firstToken ? `first token ${firstToken.milliseconds.toFixed(0)} ms` : `first tokens up to ${Math.max(...firstTokens).toFixed(0)} ms`,
    `${tokensPerSecond.toFixed(0)} tokens/s (${share.toFixed(0)} % of a copy)`,
    ...(step && device && host && idle
      ? [
          `step ${step.milliseconds.toFixed(2)} ms, GPU ${device.milliseconds.toFixed(2)}, host ${host.milliseconds.toFixed(3)}, idle ${idle.milliseconds.toFixed(3)}`,
        ]
      : []),
  ]
  return `${rowName(row)}: ${parts.join('; ')}`
}
