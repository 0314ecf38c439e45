import { type ModelBackend, PunctuationTable, phsaConfig, RandomStream, SparsitySchedule } from '@phsa/core'
import { DecoderModel, generate, nextTokenBatch } from '@phsa/model'
import { createTrainer } from '@phsa/trainer'
import { expect, test } from 'vitest'
import { missingCompiler } from '../../../packages/kernels-cuda/test/emulation/build-emulation.js'
import { emulatedCuda } from '../../../packages/kernels-cuda/test/emulation/emulated-cuda.js'

const VOCABULARY = 40
const TOKENS = 64
const config = {
  vocabSize: VOCABULARY,
  hiddenSize: 32,
  intermediateSize: 32,
  layers: 2,
  heads: 2,
  kvHeads: 1,
  headDim: 32,
  rmsNormEpsilon: 1e-6,
  ropeTheta: 10_000,
  maxPositions: 256,
  tieWordEmbeddings: true,
  eosTokenIds: [],
}
const phsa = phsaConfig({ blockSize: 8, initTokens: 8, localTokens: 16, topK: 2 })
const punctuation = new PunctuationTable(new Map([3, 11, 19, 27, 35].map((id) => [id, '.'])), VOCABULARY)
const ids = (seed: number, count: number) => {
  const random = new RandomStream(seed)
  return Int32Array.from({ length: count }, () => random.below(VOCABULARY))
}
const data = { fingerprint: 'drawn', rows: () => ({ row: (index: number) => ({ sequences: [ids(index, TOKENS)] }) }) }
const schedule = new SparsitySchedule([
  { kind: 'dense', share: 0.4 },
  { kind: 'sparse', share: 0.6, topK: 2, distillation: true },
])
const missing = missingCompiler()

/** Losses and lambdas of a short training run, and what the model then writes. */
async function trainAndGenerate(backend: ModelBackend) {
  const before = backend.memory.usage()
  const model = DecoderModel.create({ config, backend, phsa, dtype: 'bf16', seed: 1 })
  const learning = {
    distillation: { rowsPerSequence: 4, lambda: 'learned' as const },
    ema: { decay: 0.5, validate: true },
    validation: { batches: [nextTokenBatch([ids(8, TOKENS)], punctuation)], every: 100 },
  }
  const run = { batch: { sequences: 1, tokens: TOKENS }, steps: 5, schedule, ...learning }
  const losses: number[] = []
  for await (const { loss, distillationLoss = 0, lambda, validation } of createTrainer({ model, data, punctuation, ...run }))
    losses.push(loss, distillationLoss, lambda?.mean ?? 0, validation?.loss ?? 0)
  const text: number[] = []
  const options = { maxNewTokens: 4, punctuation, sampling: { temperature: 1, seed: 3 } }
  for await (const id of generate(model, ids(9, 50), options)) text.push(id)
  model.dispose()
  expect(backend.memory.usage()).toEqual(before)
  return { losses, text }
}

test.skipIf(missing)(
  `steps that a backend records give the same bits as steps that it does not${missing ? ` (skipped: ${missing})` : ''}`,
  { timeout: 600_000 },
  async () => {
    const recording = await emulatedCuda()
    const calls: string[] = []
    const capture: NonNullable<ModelBackend['capture']> = async (step) => {
      calls.push('capture')
      const captured = await recording.capture!(step)
      return {
        result: captured.result,
        replay: () => {
          calls.push('replay')
          captured.replay()
        },
        dispose: () => captured.dispose(),
      }
    }
    const { memory, attention, paged, ops, limits, lost, name, device, contractVersion } = recording
    const parts = { memory, attention, paged, ops, limits, lost, name, device, contractVersion }
    const methods = {
      supports: recording.supports.bind(recording),
      prepare: recording.prepare.bind(recording),
      dispose: () => recording.dispose(),
    }
    const recorded = await trainAndGenerate({ ...parts, ...methods, capture })
    expect(recorded).toEqual(await trainAndGenerate({ ...parts, ...methods }))
    const means = recorded.losses.filter((_, index) => index % 4 === 2)
    expect(new Set(means).size).toBe(4)
    // Steps 2 of the dense stage, 4 and 5 of the sparse one, and all tokens from the third on.
    expect(calls.filter((call) => call === 'capture')).toHaveLength(3)
    expect(calls.filter((call) => call === 'replay')).toHaveLength(1 + 2 + 2)
    recording.dispose()
  },
)
