// Measures what the options of the trainer cost on this machine's GPU, steps of the Qwen3-0.6B shape: `bench-trainer` of the offline bundle starts it.
import { parseArgs } from 'node:util'
import type { ModelBackend } from '@phsa/core'
import { cuda } from '@phsa/kernels-cuda'
import { type DecoderConfig, DecoderModel } from '@phsa/model'
import { createTrainer, type TrainingData } from '@phsa/trainer'
import { programCode, resultWriter } from '../bench-program.js'
import { topicBatch, uploadWeights } from '../model/bench-weights.js'
import { BENCH_PHSA, QWEN3_06B } from '../model/model-plan.js'
import { type TrainerCase, trainerCases } from './trainer-cases.js'

/** Steps of each setting, and how many of them warm up and record. */
const STEPS = 12
const WARM_UP = 4
/** Tokens a sequence. */
const TOKENS = 4096

const { values } = parseArgs({ options: { out: { type: 'string' }, commit: { type: 'string' }, small: { type: 'boolean' } } })
const { out, commit, small = false } = values
if (out === undefined) {
  console.error('usage: --out FILE [--small] [--commit HASH]')
  process.exit(2)
}
const config: DecoderConfig = small ? { ...QWEN3_06B, vocabSize: 4096, layers: 2 } : QWEN3_06B

const write = resultWriter(out)
process.exitCode = await programCode(async () => {
  const backend = await cuda()
  await measure(backend).finally(() => backend.dispose())
  return true
})

async function measure(backend: ModelBackend): Promise<void> {
  const result = { createdAt: new Date().toISOString(), commit, device: backend.device, config, tokens: TOKENS, warmUp: WARM_UP }
  const dtype = 'bf16'
  const model = new DecoderModel({ config, backend, phsa: BENCH_PHSA, dtype }, uploadWeights(backend.memory, config, dtype))
  const cases: { name: string; milliseconds: readonly number[]; median: number }[] = []
  try {
    for (const trainerCase of trainerCases(TOKENS)) {
      const milliseconds = await timedSteps(model, trainerCase)
      const sorted = milliseconds.slice(WARM_UP).sort((left, right) => left - right)
      const median = sorted[Math.floor(sorted.length / 2)]
      console.log(`${trainerCase.name}: ${median.toFixed(1)} ms`)
      cases.push({ name: trainerCase.name, milliseconds, median })
      write({ ...result, cases })
    }
  } finally {
    model.dispose()
  }
}

/** Milliseconds of each step, until its loss is on the host. */
async function timedSteps(model: DecoderModel, { options }: TrainerCase): Promise<number[]> {
  const { sequences = 1, tokens, accumulate = 1 } = options.batch ?? {}
  const trainer = createTrainer({ ...options, model, data: topicData(), steps: STEPS, optimizer: { learningRate: 1e-5 }, seed: 1 })
  const milliseconds: number[] = []
  for await (const { tokensPerSecond } of trainer) {
    milliseconds.push((1000 * sequences * accumulate * (tokens ?? TOKENS)) / tokensPerSecond)
  }
  return milliseconds
}

/** Rows of one document, so that steps have the same lengths. */
function topicData(): TrainingData {
  return {
    fingerprint: 'topics',
    rows: ({ sequenceTokens }) => ({ row: (index) => ({ sequences: [topicBatch(sequenceTokens, config.vocabSize, index).ids] }) }),
  }
}
