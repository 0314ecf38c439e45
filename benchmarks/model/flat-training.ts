import { phsaConfig, SparsitySchedule } from '@phsa/core'
import { type DecoderConfig, DecoderModel } from '@phsa/model'
import { createTrainer } from '@phsa/trainer'
import type { MemoryFlatness } from '../attention/device-result.js'
import type { MeasurableBackend } from './bench-context.js'
import { topicBatch, uploadWeights } from './bench-weights.js'

/** Small enough for many steps, and with everything that a step of a large one has. */
const CONFIG: DecoderConfig = {
  vocabSize: 2048,
  hiddenSize: 128,
  intermediateSize: 256,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 32,
  rmsNormEpsilon: 1e-6,
  ropeTheta: 1e6,
  maxPositions: 512,
  tieWordEmbeddings: true,
  eosTokenIds: [],
}
const PHSA = phsaConfig({ blockSize: 16, initTokens: 16, localTokens: 64, topK: 2 })
/** Steps after which everything has been compiled, recorded and allocated. */
const WARM_UP = 20
const LOOKS = 10

/** Takes training steps (two sequences of several documents, accumulation, distillation) and looks whether the GPU's memory stays as it was after the first ones. */
export async function checkFlatTraining(backend: MeasurableBackend, steps: number, config = CONFIG): Promise<MemoryFlatness> {
  const parameters = uploadWeights(backend.memory, config, 'bf16')
  const model = new DecoderModel({ config, backend, phsa: PHSA, dtype: 'bf16' }, parameters)
  const trainer = createTrainer({
    model,
    data: {
      fingerprint: 'topics',
      largestId: config.vocabSize - 1,
      rows: ({ sequenceTokens, seed }) => ({ row: (index) => ({ sequences: documents(sequenceTokens, config.vocabSize, seed + index) }) }),
    },
    batch: { sequences: 2, tokens: config.maxPositions, accumulate: 2 },
    steps: WARM_UP + steps,
    schedule: new SparsitySchedule([{ kind: 'sparse', share: 1, topK: PHSA.topK, distillation: true }]),
    distillation: { rowsPerSequence: 32 },
  })
  const every = Math.max(1, Math.floor(steps / LOOKS))
  const samples: MemoryFlatness['samples'][number][] = []
  try {
    for await (const { step } of trainer) {
      const calls = step - WARM_UP
      if (calls >= 0 && (calls % every === 0 || calls === steps)) {
        samples.push({ calls, freeBytes: backend.deviceMemory().freeBytes, ...backend.memory.usage() })
      }
    }
  } finally {
    model.dispose()
  }
  const [first] = samples
  const flat = samples.every(
    ({ freeBytes, tensors, bytes }) => freeBytes >= first.freeBytes && tensors === first.tensors && bytes === first.bytes,
  )
  return { calls: steps, samples, flat }
}

/** A row of two documents whose border moves from row to row. */
function documents(tokens: number, vocabSize: number, seed: number): Int32Array[] {
  const { ids } = topicBatch(tokens, vocabSize, seed)
  const border = 1 + ((seed * 37) % (tokens - 1))
  return [ids.subarray(0, border), ids.subarray(border)]
}
