import { type DType, elementCount, type Memory, RandomStream, type Tensor } from '@phsa/core'
import { type DecoderConfig, parameterShapes, type TrainingBatch } from '@phsa/model'
import { NormalPool } from '../attention/normal-pool.js'

/** Standard deviation of the weights, and of those that add to the residual stream before it is scaled by depth. */
const DEVIATION = 0.02
/** Groups of tokens whose embeddings have a part in common. */
const TOPICS = 64
/** Tokens in a row of one topic. */
const RUN = 64
/** Share of an embedding's variance that its topic has: so much that neighbouring queries choose about as many blocks in common as in a trained model. */
const TOPIC_SHARE = 0.5
/** Share of tokens that count as punctuation, as in English prose. */
const MARKS = 1 / 6

/**
 * Weights of a fresh model by the hundred million: a few million normal numbers are drawn, the rest is pieces of them. Embeddings of a topic have a part in
 * common, so that with `topicBatch` neighbouring queries resemble each other.
 */
export function uploadWeights(memory: Memory, config: DecoderConfig, dtype: DType): Map<string, Tensor> {
  const pool = new NormalPool(5)
  const parameters = new Map<string, Tensor>()
  for (const [index, [name, shape]] of [...parameterShapes(config)].entries()) {
    const values = pool.take(elementCount(shape), index)
    if (name.includes('norm')) values.fill(1)
    else if (name.includes('embed')) addTopics(values, config.hiddenSize, pool)
    else {
      const isResidual = name.endsWith('o_proj.weight') || name.endsWith('down_proj.weight')
      scale(values, DEVIATION / (isResidual ? Math.sqrt(2 * config.layers) : 1))
    }
    parameters.set(name, memory.upload(values, shape, dtype))
  }
  return parameters
}

/** One sequence that stays with a topic for 64 tokens, for training and, without its targets, for a forward pass. */
export function topicBatch(length: number, vocabSize: number, seed: number): TrainingBatch {
  const random = new RandomStream(seed)
  const ids = new Int32Array(length)
  const punctuation = new Uint8Array(length)
  for (let token = 0, topic = 0; token < length; token++) {
    if (token % RUN === 0) topic = random.below(TOPICS)
    ids[token] = topic + TOPICS * random.below(Math.floor(vocabSize / TOPICS))
    punctuation[token] = random.uniform() < MARKS ? 1 : 0
  }
  const targets = new Int32Array(length)
  targets.set(ids.subarray(1))
  const weights = new Float32Array(length).fill(1 / (length - 1), 0, length - 1)
  return { ids, lengths: [length], punctuation, targets, weights }
}

function scale(values: Float32Array, factor: number): void {
  for (let index = 0; index < values.length; index++) values[index] *= factor
}

/** Rows of a table, row v of topic v mod TOPICS. */
function addTopics(values: Float32Array, width: number, pool: NormalPool): void {
  const topics = pool.take(TOPICS * width, -1)
  const [own, shared] = [DEVIATION * Math.sqrt(1 - TOPIC_SHARE), DEVIATION * Math.sqrt(TOPIC_SHARE)]
  const period = topics.length
  for (let index = 0; index < values.length; index++) values[index] = own * values[index] + shared * topics[index % period]
}
