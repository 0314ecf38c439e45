import { type DType, type ModelBackend, type PhsaConfig, phsaConfig, RandomStream } from '@phsa/core'
import { type DecoderConfig, DecoderModel } from '../src/index.js'

/** Small enough for finite differences, with everything in it: G = 2, heads x headDim other than the hidden size. */
export const tinyConfig: DecoderConfig = {
  vocabSize: 29,
  hiddenSize: 12,
  intermediateSize: 20,
  layers: 3,
  heads: 4,
  kvHeads: 2,
  headDim: 8,
  rmsNormEpsilon: 1e-6,
  ropeTheta: 10_000,
  maxPositions: 256,
  tieWordEmbeddings: true,
  eosTokenIds: [],
}

/** Really sparse at 50 tokens: A = 24. */
export const sparsePhsa: PhsaConfig = phsaConfig({ blockSize: 4, initTokens: 4, localTokens: 8, topK: 3 })

/** Weights large enough for attention to prefer some keys over others. */
export async function tinyModel(
  backend: ModelBackend,
  { config = tinyConfig, phsa = sparsePhsa, dtype = 'f32' as DType, seed = 1, recompute = false } = {},
): Promise<DecoderModel> {
  const model = DecoderModel.create({ config, backend, phsa, dtype, seed, recompute })
  for (const tensor of model.parameters.values()) {
    const values = await backend.memory.download(tensor)
    const isNorm = tensor.shape.length === 1
    const random = new RandomStream(seed + values.length)
    backend.memory.write(
      tensor,
      values.map((value: number) => (isNorm ? 1 + 0.3 * random.normal() : value * 25)),
    )
  }
  return model
}

export function randomIds(length: number, seed = 1, vocabSize = tinyConfig.vocabSize): Int32Array {
  const random = new RandomStream(seed)
  return Int32Array.from({ length }, () => random.below(vocabSize))
}

/** Every fifth id is punctuation. */
export function punctuationOf(ids: Int32Array): Uint8Array {
  return Uint8Array.from(ids, (id) => (id % 5 === 0 ? 1 : 0))
}

/** Relative Frobenius error. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY
  let difference = 0
  let norm = 0
  for (let index = 0; index < expected.length; index++) {
    difference += (actual[index] - expected[index]) ** 2
    norm += expected[index] ** 2
  }
  return Math.sqrt(difference / norm)
}
