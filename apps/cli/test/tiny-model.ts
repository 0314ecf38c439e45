import { phsaConfig } from '@phsa/core'
import type { BenchModel } from '../src/bench/bench-model.js'

/** Small enough for the reference to train it in milliseconds; its windows leave blocks to be selected. */
export const TINY_MODEL: BenchModel = {
  config: {
    vocabSize: 32,
    hiddenSize: 8,
    intermediateSize: 16,
    layers: 2,
    heads: 2,
    kvHeads: 1,
    headDim: 4,
    rmsNormEpsilon: 1e-6,
    ropeTheta: 10_000,
    maxPositions: 128,
    tieWordEmbeddings: true,
    eosTokenIds: [],
  },
  phsa: phsaConfig({ blockSize: 8, initTokens: 8, localTokens: 16, topK: 1 }),
  batch: { sequences: 1, tokens: 48 },
}
