import { type ModelBackend, type PhsaConfig, PunctuationTable, phsaConfig, phsaPolicy, RandomStream, reference } from '@phsa/core'
import { type DecoderConfig, DecoderModel, generate } from '@phsa/model'
import { Engine, type EngineEvent, type EngineOptions, type EngineRequest, type EngineSampling, type EngineUsage } from '../../src/index.js'

/** Small enough for milliseconds, with everything in it that matters to an engine: several layers, groups of heads. */
export const tinyConfig: DecoderConfig = {
  vocabSize: 29,
  hiddenSize: 12,
  intermediateSize: 20,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 8,
  rmsNormEpsilon: 1e-6,
  ropeTheta: 10_000,
  maxPositions: 256,
  tieWordEmbeddings: true,
  eosTokenIds: [],
}

/** Really sparse at 30 tokens: A = 20. */
export const sparsePhsa: PhsaConfig = phsaConfig({ blockSize: 4, initTokens: 4, localTokens: 8, topK: 2 })

export const punctuation = new PunctuationTable(new Map([0, 5, 10, 15, 20, 25].map((id) => [id, '.'])), tinyConfig.vocabSize)

export const greedy: EngineSampling = {
  temperature: 0,
  topP: 1,
  topK: 0,
  minP: 0,
  seed: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  logitBias: [],
}

/** Draws that differ by the seed. */
export const seeded = (seed: number): EngineSampling => ({ ...greedy, temperature: 1.2, topP: 0.95, seed })

/** Weights large enough for attention to prefer some keys over others. */
export async function tinyModel(backend: ModelBackend, phsa = sparsePhsa): Promise<DecoderModel> {
  const model = DecoderModel.create({ config: tinyConfig, backend, phsa, seed: 1 })
  for (const tensor of model.parameters.values()) {
    const values = await backend.memory.download(tensor)
    const isNorm = tensor.shape.length === 1
    const random = new RandomStream(1 + values.length)
    backend.memory.write(
      tensor,
      values.map((value: number) => (isNorm ? 1 + 0.3 * random.normal() : value * 25)),
    )
  }
  return model
}

export function requestOf(request: Partial<EngineRequest> = {}): EngineRequest {
  return { prompt: Int32Array.of(1, 2, 3), maxTokens: 8, sampling: greedy, stopTokenIds: [], salt: '', ...request }
}

export function randomIds(length: number, seed: number): Int32Array {
  const random = new RandomStream(seed)
  return Int32Array.from({ length }, () => random.below(tinyConfig.vocabSize))
}

/** What a stream gave, put together. */
export interface Answer {
  readonly ids: number[]
  readonly events: EngineEvent[]
  readonly reason: string
  readonly usage: EngineUsage
}

export async function answerOf(
  engine: Engine,
  request: EngineRequest,
  { signal, onEvent }: { signal?: AbortSignal; onEvent?: (event: EngineEvent) => void } = {},
): Promise<Answer> {
  const events: EngineEvent[] = []
  for await (const event of engine.generate(request, signal)) {
    events.push(event)
    onEvent?.(event)
  }
  const end = events.at(-1)
  if (end?.type !== 'end') throw new Error('the stream has no end')
  return { ids: events.flatMap((event) => (event.type === 'token' ? [event.id] : [])), events, reason: end.reason, usage: end.usage }
}

/** What @phsa/model makes of the request by itself. */
export async function loneRun(
  model: DecoderModel,
  { prompt, maxTokens, sampling, attention, stopTokenIds }: EngineRequest,
): Promise<number[]> {
  const { temperature, topP, topK, minP, seed, repetitionPenalty } = sampling
  const phsa = attention && attention !== 'dense' ? { ...model.phsa, topK: attention.topK } : model.phsa
  const ids: number[] = []
  for await (const id of generate(model, prompt, {
    maxNewTokens: maxTokens,
    punctuation,
    stopTokenIds,
    attention: attention === 'dense' ? 'dense' : { policy: phsaPolicy, phsa },
    sampling: { temperature, topP, topK, minP, seed, repetitionPenalty },
  })) {
    ids.push(id)
  }
  return ids
}

/** Runs with an engine on the reference backend, and sees to it that nothing is left: no page held, no tensor. */
export async function withEngine(
  options: Partial<EngineOptions>,
  run: (engine: Engine, model: DecoderModel, backend: ModelBackend) => Promise<void>,
  wrap: (backend: ModelBackend) => ModelBackend = (backend) => backend,
): Promise<void> {
  const plain = await reference()
  const backend = wrap(plain)
  const model = await tinyModel(backend)
  const before = backend.memory.usage()
  const engine = new Engine({ model, punctuation, pageTokens: 4, ...options })
  try {
    await run(engine, model, backend)
    const { running, waiting, pagesUsed } = await engine.stats()
    if (running + waiting + pagesUsed > 0) throw new Error(`left behind: ${running} running, ${waiting} waiting, ${pagesUsed} pages`)
  } finally {
    await engine.stop()
  }
  const after = backend.memory.usage()
  plain.dispose()
  if (after.tensors !== before.tensors || after.bytes !== before.bytes)
    throw new Error(`${after.tensors - before.tensors} tensors are left`)
}
