import { type DType, type ModelBackend, type PhsaConfig, PunctuationTable, phsaConfig } from '@phsa/core'
import { DecoderModel, type TextTokenizer } from '@phsa/model'
import { loadTextModel } from '../load-text-model.js'
import { openTokenizer } from '../open-tokenizer.js'

/** What a run trains and where its tokens come from. */
export interface Learner {
  readonly model: DecoderModel
  readonly tokenizer: TextTokenizer
  readonly tokenizerFolder: string
  readonly punctuation: PunctuationTable
}

/** A model folder to continue from, or the shape of a new model; sparsity for both. */
export interface LearnerChoice {
  readonly model?: string
  readonly tokenizer?: string
  readonly hiddenSize: number
  readonly layers: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly blockSize?: number
  readonly initTokens?: number
  readonly localTokens?: number
  readonly lambda?: number
  readonly sequenceTokens: number
  readonly seed: number
  /** Element type on the backend, f32 by default. */
  readonly dtype?: DType
}

/** Loads or makes the model of a run. The caller disposes it. @throws what `loadTextModel` and `openTokenizer` throw */
export async function prepareLearner(choice: LearnerChoice, backend: ModelBackend): Promise<Learner> {
  const { model: folder, hiddenSize, layers, heads, kvHeads, headDim, seed, sequenceTokens, dtype } = choice
  if (folder !== undefined) {
    const { model, tokenizer, punctuation } = await loadTextModel(folder, { backend, phsa: phsaSettings(choice), dtype })
    return { model, tokenizer, tokenizerFolder: folder, punctuation }
  }
  const { tokenizer, folder: tokenizerFolder } = await openTokenizer(choice.tokenizer)
  const config = {
    vocabSize: tokenizer.vocabSize,
    hiddenSize,
    // Three times, as SwiGLU models have it, in whole multiples of 16.
    intermediateSize: Math.ceil((hiddenSize * 3) / 16) * 16,
    layers,
    heads,
    kvHeads,
    headDim,
    rmsNormEpsilon: 1e-6,
    ropeTheta: 10_000,
    maxPositions: Math.max(4096, sequenceTokens),
    tieWordEmbeddings: true,
    eosTokenIds: tokenizer.eosTokenId === undefined ? [] : [tokenizer.eosTokenId],
  }
  const model = DecoderModel.create({ config, backend, phsa: phsaConfig(phsaSettings(choice)), dtype, seed })
  return { model, tokenizer, tokenizerFolder, punctuation: PunctuationTable.fromTokenizer(tokenizer.json) }
}

function phsaSettings({ blockSize, initTokens, localTokens, lambda }: LearnerChoice): Partial<PhsaConfig> {
  const given = { blockSize, initTokens, localTokens, lambda }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
}
