import { basename, resolve } from 'node:path'
import { type DType, phsaPolicy } from '@phsa/core'
import { type ApiKey, createServer, requireSafeAddress, type ServerOptions } from '@phsa/server'
import { withBackend } from '../backends.js'
import { bundledPlayground } from '../demo/bundled-assets.js'
import { ExitCode } from '../exit-code.js'
import { type Interruption, interruptible } from '../interruption.js'
import { loadTextModel, type TextModel } from '../load-text-model.js'
import { reportJsonLine } from '../report-json.js'
import { type CacheChoice, cacheTokens } from '../serving/cache-tokens.js'
import { describeServer, serverText } from '../serving/describe-server.js'
import { readKeyFile } from '../serving/read-key-file.js'
import { serveUntilStopped } from '../serving/serve-until-stopped.js'
import { UsageError } from '../usage-error.js'

export interface ServeOptions extends CacheChoice {
  readonly model: string
  readonly modelName?: string
  readonly backend?: string
  readonly dtype?: DType
  readonly host: string
  readonly port: number
  readonly apiKeyFile?: string
  readonly maxConcurrent?: number
  readonly queue?: number
  readonly prefillChunk?: number
  readonly grace: number
  readonly topK?: number
  readonly dense?: boolean
  readonly minTopK?: number
  readonly maxTopK?: number
  readonly denseRequests?: boolean
  readonly denseBelow?: number
  readonly recallEvery?: number
  readonly log?: boolean
  readonly playground?: boolean
  readonly allowOrigin?: readonly string[]
  readonly json?: boolean
}

/** Serves a model folder until a signal, or until it cannot go on. */
export async function runServe(options: ServeOptions): Promise<ExitCode> {
  const keys = options.apiKeyFile === undefined ? [] : await readKeyFile(options.apiKeyFile)
  requireRoom(options)
  requireTopKBounds(options)
  // The server asks too, but only after minutes of loading.
  requireSafeAddress(options.host, keys.length > 0)
  const modelName = options.modelName ?? basename(resolve(options.model))
  const pages = options.playground ? bundledPlayground() : undefined
  const serve = async (interruption: Interruption) =>
    withBackend(options.backend, async (backend) => {
      const loaded = await loadTextModel(options.model, { backend, dtype: options.dtype })
      try {
        if (interruption.requested) return ExitCode.interrupted
        const server = await createServer(serverOptions(loaded, { ...options, modelName, pages }, keys))
        const description = describeServer(server, loaded.model, modelName, keys.length)
        process.stdout.write(options.json ? reportJsonLine(description) : serverText(description))
        if (pages && !options.json) process.stdout.write(`playground ${server.url}/\n`)
        return await serveUntilStopped(server, interruption, options.grace)
      } finally {
        loaded.model.dispose()
      }
    })
  return interruptible(serve, 'taking no more requests, finishing those that run')
}

function requireRoom({ prefillChunk, maxConcurrent = 1 }: ServeOptions): void {
  if (prefillChunk === undefined || prefillChunk >= maxConcurrent) return
  throw new UsageError(
    `--prefill-chunk is ${prefillChunk}; a step takes a token of each request, ${maxConcurrent} with --max-concurrent. Give as many at least.`,
  )
}

/** @param usual what requests get that say nothing: --top-k, or of the model once that is known */
function requireTopKBounds({ minTopK = 0, maxTopK = 64, dense, topK }: ServeOptions, usual = topK): void {
  if (minTopK > maxTopK) throw new UsageError(`--min-top-k is ${minTopK} and --max-top-k ${maxTopK}; give a range.`)
  if (dense || usual === undefined || (usual >= minTopK && usual <= maxTopK)) return
  throw new UsageError(
    `requests that say nothing get topK ${usual}, and others may ask for ${minTopK} to ${maxTopK}; give a --top-k between, or another --min-top-k or --max-top-k.`,
  )
}

function serverOptions(loaded: TextModel, options: ServeOptions & { readonly pages?: string }, keys: readonly ApiKey[]): ServerOptions {
  const { model, punctuation, generation } = loaded
  if (generation.unsupported) {
    process.stderr.write(`generation_config.json sets ${generation.unsupported.join(', ')}, which is not followed\n`)
  }
  const { topK, dense, denseBelow, pages } = options
  requireTopKBounds(options, topK ?? model.phsa.topK)
  return {
    model,
    punctuation,
    tokenizerFolder: options.model,
    modelName: options.modelName,
    host: options.host,
    port: options.port,
    maxTokens: options.maxTokens,
    cacheTokens: cacheTokens(model, options),
    maxSequences: options.maxConcurrent,
    maxWaiting: options.queue,
    stepTokens: options.prefillChunk,
    ...(denseBelow !== undefined && { attention: { policy: phsaPolicy, phsa: { ...model.phsa, denseBelow } } }),
    recallEvery: options.recallEvery,
    minTopK: options.minTopK,
    maxTopK: options.maxTopK,
    dense: options.denseRequests,
    defaultAttention: dense ? 'dense' : topK === undefined ? undefined : { topK },
    api: {
      keys,
      ...(generation.sampling && { sampling: generation.sampling }),
      ...(options.allowOrigin && { allowedOrigins: options.allowOrigin }),
      ...(pages && { pages }),
    },
    log: options.log,
  }
}
