import { type DType, type ModelBackend, type PhsaConfig, PunctuationTable, phsaConfig, reference } from '@phsa/core'
import { type DecoderConfig, DecoderModel } from '@phsa/model'
import type { DocumentTokenizer } from '../src/data/document-tokenizer.js'
import { TextDataset } from '../src/data/text-dataset.js'

/** A token a letter: 0 ends a document, 1 to 26 are the letters, then blank and two marks. */
const LETTERS = `\u0000abcdefghijklmnopqrstuvwxyz .,`

export const letterTokenizer: DocumentTokenizer = {
  encode: (text) => Int32Array.from(text.toLowerCase(), (letter) => Math.max(1, LETTERS.indexOf(letter))),
  eosTokenId: 0,
}

export const letterPunctuation = new PunctuationTable(
  new Map([
    [LETTERS.indexOf('.'), '.'],
    [LETTERS.indexOf(','), ','],
  ]),
  LETTERS.length,
)

export const tinyConfig: DecoderConfig = {
  vocabSize: LETTERS.length,
  hiddenSize: 16,
  intermediateSize: 32,
  layers: 2,
  heads: 2,
  kvHeads: 1,
  headDim: 8,
  rmsNormEpsilon: 1e-6,
  ropeTheta: 10_000,
  maxPositions: 256,
  tieWordEmbeddings: true,
  eosTokenIds: [0],
}

/** Small enough that a row of 48 tokens has blocks to choose from. */
export const tinyPhsa: PhsaConfig = phsaConfig({ blockSize: 4, initTokens: 4, localTokens: 8, topK: 2 })

export interface TinyModelOptions {
  config?: DecoderConfig
  seed?: number
  phsa?: PhsaConfig
  dtype?: DType
  recompute?: boolean
  /** Default: a new reference backend. */
  backend?: ModelBackend
}

export async function tinyModel({
  config = tinyConfig,
  seed = 7,
  phsa = tinyPhsa,
  dtype = 'f32',
  recompute = false,
  backend,
}: TinyModelOptions = {}): Promise<DecoderModel> {
  return DecoderModel.create({ config, backend: backend ?? (await reference()), phsa, seed, dtype, recompute })
}

export function letterData(text: string): Promise<TextDataset> {
  return TextDataset.fromText(text, letterTokenizer)
}
