import type { DecoderModel } from '@phsa/model'
import type { EngineLimits, InferenceServer } from '@phsa/server'

/** What a server is, for whoever started it. */
export interface ServerDescription {
  readonly type: 'listening'
  readonly url: string
  readonly model: string
  readonly parameters: number
  readonly dtype: string
  readonly backend: string
  readonly device: string
  readonly cacheTokens: number
  readonly cacheBytes: number
  readonly limits: EngineLimits
  readonly keys: number
}

/** @param name what clients call the model @param keys how many there are */
export function describeServer(server: InferenceServer, model: DecoderModel, name: string, keys: number): ServerDescription {
  const { limits, cacheBytes, cacheTokens } = server
  const { backend, parameterCount: parameters, dtype } = model
  const { name: backendName, device } = backend
  return {
    type: 'listening',
    url: server.url,
    model: name,
    parameters,
    dtype,
    backend: backendName,
    device,
    cacheTokens,
    cacheBytes,
    limits,
    keys,
  }
}

/** The same in words, several lines. */
export function serverText({
  url,
  model,
  parameters,
  dtype,
  backend,
  device,
  cacheTokens,
  cacheBytes,
  limits,
  keys,
}: ServerDescription): string {
  const { attention, minTopK, maxTopK, dense, maxTokens, maxWaiting } = limits
  const usual = attention === 'dense' ? 'dense' : `topK ${attention.topK}`
  const rows: [string, string][] = [
    ['listening', `${url}${keys > 0 ? `, ${keys} API key${keys > 1 ? 's' : ''}` : ', without keys'}`],
    ['model', `${model}, ${(parameters / 1e6).toFixed(1)} M parameters in ${dtype}, ${backend} on ${device}`],
    ['attention', `${usual}; requests may ask for topK ${minTopK} to ${maxTopK}${dense ? ' or dense' : ''}`],
    ['cache', `${cacheTokens} tokens, ${(cacheBytes / 2 ** 20).toFixed(1)} MiB`],
    ['limits', `${maxTokens} tokens a request, ${maxWaiting} requests waiting`],
  ]
  return `${rows.map(([name, text]) => `${name.padEnd(10)}${text}`).join('\n')}\n`
}
