import { basename, resolve } from 'node:path'
import { MessageChannel, Worker } from 'node:worker_threads'
import { WorkerConstraints } from './constrain/worker-constraints.js'
import { Engine } from './engine/engine.js'
import type { EngineOptions } from './engine/engine-options.js'
import { givenFields } from './given-fields.js'
import type { HttpWorkerData, PlainApiSettings } from './http-worker-messages.js'
import { InferenceServer, listening } from './inference-server.js'
import { type HttpTimeouts, USUAL_TIMEOUTS } from './listen/http-timeouts.js'
import { requireSafeAddress } from './listen/require-safe-address.js'
import { EngineHost } from './port/engine-host.js'
import { threadScript } from './thread-script.js'

/** What a server serves, where, and within which bounds. */
export interface ServerOptions extends EngineOptions {
  /** Folder with tokenizer.json and the chat template, usually the model's. */
  readonly tokenizerFolder: string
  /** What clients call the model; default: the name of the tokenizer's folder. */
  readonly modelName?: string
  /** Address to listen on; default 127.0.0.1. Any that other machines reach needs `api.keys`. */
  readonly host?: string
  /** TCP port; default 8000; 0 takes any that is free. */
  readonly port?: number
  /** Keys, defaults and bounds of requests; the ids that end a text are the model's unless given. */
  readonly api?: Partial<PlainApiSettings>
  readonly timeouts?: Partial<HttpTimeouts>
  /** Whether a line of JSON a request goes to stderr, without text of prompts or answers; default false. */
  readonly log?: boolean
}

/**
 * Starts a server: the engine in this thread, which is the model's, HTTP and texts in a thread of their own. It listens when the promise resolves.
 * Not inside of a memory scope. The model stays the caller's, who disposes it after `close`.
 * @throws InvalidInputError and InvalidConfigError for options; OutOfMemoryError for caches that do not fit; what `TextTokenizer.fromFolder` throws; an
 * error of code `listen` for an address that cannot be listened on
 */
export async function createServer(options: ServerOptions): Promise<InferenceServer> {
  const { tokenizerFolder, modelName, host = '127.0.0.1', port = 8000, api, timeouts, log = false, ...engineOptions } = options
  requireSafeAddress(host, (api?.keys?.length ?? 0) > 0)
  const constraints = new WorkerConstraints({ tokenizerFolder, vocabSize: options.model.config.vocabSize })
  const engine = new Engine({ constraints, ...engineOptions })
  let worker: Worker | undefined
  try {
    const { port1, port2 } = new MessageChannel()
    new EngineHost(engine, port1)
    const data: HttpWorkerData = {
      enginePort: port2,
      engineLimits: engine.limits,
      tokenizerFolder,
      modelName: modelName ?? basename(resolve(tokenizerFolder)),
      host,
      port,
      timeouts: { ...USUAL_TIMEOUTS, ...givenFields(timeouts ?? {}) },
      settings: { stopTokenIds: options.model.config.eosTokenIds, ...givenFields(api ?? {}) },
      log,
    }
    worker = new Worker(threadScript('./http-worker', import.meta.url), { workerData: data, transferList: [port2] })
    const server = new InferenceServer(worker, engine, await listening(worker))
    const end = () => void constraints.close()
    server.ended.then(end, end)
    return server
  } catch (error) {
    await worker?.terminate()
    await engine.stop()
    throw error
  }
}
