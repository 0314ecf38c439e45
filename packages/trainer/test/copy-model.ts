import { elementCount, type ModelBackend, phsaConfig } from '@phsa/core'
import { type DecoderConfig, DecoderModel, parameterShapes } from '@phsa/model'
import type { NeedleTask } from '../src/evaluation/needle-task.js'

/** Ids 0 to 15 are filler; 8 first and 8 second values make the facts; one token asks. */
const FIRST = 16
const SECOND = 24
const ASK = 32

/** Coordinates of the residual stream: which value a token is, its class, and which value attention found. */
const VALUE = 0
const CLASS = { asks: 16, isFirst: 17, isSecond: 18, isFiller: 19 }
const FOUND = 20

export const copyConfig: DecoderConfig = {
  vocabSize: 33,
  hiddenSize: 36,
  intermediateSize: 4,
  layers: 1,
  heads: 1,
  kvHeads: 1,
  headDim: 16,
  rmsNormEpsilon: 1e-6,
  // The slowest two rotations, which the weights use, then stay near 0.
  ropeTheta: 1e12,
  maxPositions: 256,
  tieWordEmbeddings: false,
  eosTokenIds: [],
}

export const copyPhsa = phsaConfig({ blockSize: 4, initTokens: 4, localTokens: 8, topK: 1 })

/** The fact is a first value with a second one behind it; both must be given back. */
export const copyTask: NeedleTask = {
  trial(random) {
    const fact = Int32Array.of(FIRST + random.below(8), SECOND + random.below(8))
    return { needle: fact, question: Int32Array.of(ASK), answer: fact }
  },
}

/**
 * A decoder of one layer whose weights are written by hand: the asking token attends to first values, a first value to second ones, each key
 * sharply, and what is attended to is the prediction. So it answers `copyTask` exactly where its attention sees the needle.
 */
export function copyModel(backend: ModelBackend): DecoderModel {
  const values = new Map([...parameterShapes(copyConfig)].map(([name, shape]) => [name, new Float32Array(elementCount(shape))]))
  const of = (role: string) => values.get(role.includes('_proj') ? `model.layers.0.self_attn.${role}.weight` : role)!
  const { hiddenSize, headDim } = copyConfig

  const embedding = of('model.embed_tokens.weight')
  const classOf = (id: number) => {
    if (id === ASK) return CLASS.asks
    if (id >= SECOND) return CLASS.isSecond
    return id >= FIRST ? CLASS.isFirst : CLASS.isFiller
  }
  for (let id = 0; id < copyConfig.vocabSize; id++) {
    embedding[id * hiddenSize + classOf(id)] = 1
    if (id >= FIRST && id < ASK) embedding[id * hiddenSize + VALUE + id - FIRST] = 1
  }

  // The last two coordinates of the first half of a head turn slowest.
  const [toFirst, toSecond] = [headDim / 2 - 1, headDim / 2 - 2]
  of('q_proj')[toFirst * hiddenSize + CLASS.asks] = 1
  of('q_proj')[toSecond * hiddenSize + CLASS.isFirst] = 1
  of('k_proj')[toFirst * hiddenSize + CLASS.isFirst] = 1
  of('k_proj')[toSecond * hiddenSize + CLASS.isSecond] = 1
  for (let value = 0; value < headDim; value++) {
    of('v_proj')[value * hiddenSize + VALUE + value] = 1
    of('o_proj')[(FOUND + value) * headDim + value] = 1
    of('lm_head.weight')[(FIRST + value) * hiddenSize + FOUND + value] = 10
  }
  for (const [name, weight] of values) if (/norm\.weight$/.test(name)) weight.fill(/[qk]_norm/.test(name) ? 3 : 1)

  const tensors = [...parameterShapes(copyConfig)].map(([name, shape]) => [name, backend.memory.upload(values.get(name)!, shape)] as const)
  return new DecoderModel({ config: copyConfig, backend, phsa: copyPhsa }, new Map(tensors))
}
