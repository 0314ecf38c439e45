import { get } from 'node:http'
import type { AddressInfo } from 'node:net'
import { serve } from '@hono/node-server'
import { phsaConfig, reference } from '@phsa/core'
import { DecoderModel } from '@phsa/model'
import type { ApiSettings } from '../../src/api/api-settings.js'
import { createApi } from '../../src/api/create-api.js'
import type { LogLine } from '../../src/api/log-line.js'
import { Engine } from '../../src/engine/engine.js'
import type { EngineClient } from '../../src/engine/engine-client.js'
import type { EngineOptions } from '../../src/engine/engine-options.js'
import { tinyTokenizer } from './tiny-tokenizer.js'

export const tokenizer = tinyTokenizer()

/** An engine with random weights: its texts are noise, broken characters among it. */
export async function tinyEngine(options: Partial<EngineOptions> = {}): Promise<Engine> {
  const config = {
    vocabSize: tokenizer.vocabSize,
    hiddenSize: 8,
    intermediateSize: 16,
    layers: 1,
    heads: 2,
    kvHeads: 1,
    headDim: 4,
    rmsNormEpsilon: 1e-6,
    ropeTheta: 10_000,
    maxPositions: 256,
    tieWordEmbeddings: true,
    eosTokenIds: [],
  }
  const phsa = phsaConfig({ blockSize: 4, initTokens: 4, localTokens: 8, topK: 2 })
  const model = DecoderModel.create({ config, backend: await reference(), phsa, seed: 3 })
  return new Engine({ model, cacheTokens: 2048, maxTopK: 8, ...options })
}

/** An API on a port of this machine. */
export interface TestServer {
  readonly url: string
  /** Of requests that have ended. */
  readonly lines: LogLine[]
  close(): Promise<void>
}

export async function listen(engine: EngineClient, settings: Partial<ApiSettings> = {}, served = tokenizer): Promise<TestServer> {
  const lines: LogLine[] = []
  const app = createApi({
    engine,
    tokenizer: served,
    modelName: 'tiny',
    settings: { stopTokenIds: [0], log: (line) => lines.push(line), ...settings },
  })
  const server = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' })
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    lines,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        if ('closeAllConnections' in server) server.closeAllConnections()
      }),
  }
}

/** Status of a GET that names another host than it goes to, as a browser does where a domain was made to mean this machine. */
export function statusFor(url: string, host: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    get(url, { headers: { host } }, (response) => {
      response.resume()
      resolve(response.statusCode)
    }).on('error', reject)
  })
}

/** Posts JSON. */
export function post(url: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(url, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) })
}

/** Waits for what other work brings about. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 2))
}
