import { type ModelBackend, PunctuationTable, phsaConfig, SparsitySchedule } from '@phsa/core'
import { DecoderModel } from '@phsa/model'
import { createTrainer, TextDataset } from '@phsa/trainer'

/** A byte a token: no tokenizer has to be fetched. */
const bytes = { encode: (text: string) => new TextEncoder().encode(text), eosTokenId: 0 }
const punctuation = new PunctuationTable(new Map([...'.,;'].map((mark) => [mark.charCodeAt(0), mark])), 128)
const TEXT = 'A fox saw grapes, ripe and high. It leapt; it missed. "They are sour," said the fox, and left. '.repeat(4)

/** Losses of a short run that is dense first, then sparse with distillation: the loss and the distillation loss of each step. */
export async function trainTinyModel(backend: ModelBackend): Promise<number[]> {
  const config = {
    vocabSize: 128,
    hiddenSize: 64,
    intermediateSize: 96,
    layers: 1,
    heads: 4,
    kvHeads: 2,
    headDim: 32,
    rmsNormEpsilon: 1e-6,
    ropeTheta: 10_000,
    maxPositions: 128,
    tieWordEmbeddings: true,
    eosTokenIds: [0],
  }
  const phsa = phsaConfig({ blockSize: 16, initTokens: 16, localTokens: 16, topK: 2 })
  const model = DecoderModel.create({ config, backend, phsa, seed: 1 })
  const losses: number[] = []
  try {
    const trainer = createTrainer({
      model,
      data: await TextDataset.fromText(TEXT, bytes),
      punctuation,
      batch: { sequences: 1, tokens: 96 },
      steps: 4,
      optimizer: { learningRate: 0.01 },
      schedule: new SparsitySchedule([
        { kind: 'dense', share: 0.5 },
        { kind: 'sparse', share: 0.5, topK: 2, distillation: true },
      ]),
      distillation: { rowsPerSequence: 16 },
    })
    for await (const { loss, distillationLoss = 0 } of trainer) losses.push(loss, distillationLoss)
  } finally {
    model.dispose()
  }
  return losses
}
