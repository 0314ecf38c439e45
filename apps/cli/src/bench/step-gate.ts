import { densePolicy, MAX_TOP_K, type ModelBackend, phsaPolicy, RandomStream, type Tensor } from '@phsa/core'
import { ConformanceSession, casePattern, conformanceCases, MODEL_TOLERANCE, relativeCheck, type TensorCheck } from '@phsa/core/testing'
import { type AttentionChoice, type DecoderConfig, DecoderModel, type TrainingBatch } from '@phsa/model'
import { trainingBatch } from '@phsa/trainer'
import type { BenchContext } from './bench-case.js'
import type { BenchModel, Sparsity } from './bench-model.js'
import { evaluated } from './evaluated.js'

/** Tokens of the compared step: past the model's windows, few enough for naive loops. */
const TOKENS = 96

/**
 * One forward and backward pass of the model in float64: losses and every gradient, by the bound of spec 11. Sparse attention selects all that
 * there is, so that a tie between blocks cannot decide; which blocks it takes is checked by the attention cases. The optimizer's own conformance
 * cases come with it.
 */
export async function checkStep(context: BenchContext, { config, phsa }: BenchModel, sparsity: Sparsity): Promise<TensorCheck[]> {
  const sparse = sparsity === 'sparse'
  const attention = sparse ? { policy: phsaPolicy, phsa: { ...phsa, topK: MAX_TOP_K } } : { policy: densePolicy, phsa }
  const expected = await lossesAndGradients(context.reference, 'f64', config, attention, sparse)
  const actual = await lossesAndGradients(context.backend, 'f32', config, attention, sparse)
  const checks = Object.keys(expected).map((name) => relativeCheck(name, actual[name], expected[name], MODEL_TOLERANCE))
  return [...checks, ...(await checkOptimizer(context.backend))]
}

async function lossesAndGradients(
  backend: ModelBackend,
  dtype: 'f32' | 'f64',
  config: DecoderConfig,
  attention: AttentionChoice,
  distil: boolean,
) {
  const model = DecoderModel.create({ config, backend, phsa: attention.phsa, dtype, seed: 1 })
  try {
    return await evaluated(backend, (): Record<string, Tensor> => {
      const gradients = model.allocGradients()
      const distillation = distil ? { coefficient: 1, rows: Int32Array.from({ length: 32 }, (_, index) => index * 3) } : undefined
      const { loss, distillationLoss } = model.lossAndGradients(randomBatch(config.vocabSize), attention, gradients, distillation)
      return { loss, ...(distillationLoss ? { distillationLoss } : {}), ...Object.fromEntries(gradients) }
    })
  } finally {
    model.dispose()
  }
}

function randomBatch(vocabSize: number): TrainingBatch {
  const random = new RandomStream(3)
  const ids = Int32Array.from({ length: TOKENS }, () => random.below(vocabSize))
  return trainingBatch([{ sequences: [ids] }])
}

async function checkOptimizer(backend: ModelBackend): Promise<TensorCheck[]> {
  // Not closed: that would dispose the backend, which is not ours.
  const session = await ConformanceSession.open(async () => backend)
  const matches = [casePattern('f32/ops/adamw*'), casePattern('f32/ops/gradient-norm*')]
  const results = []
  for (const optimizerCase of conformanceCases().filter(({ name }) => matches.some((match) => match(name)))) {
    results.push(await session.run(optimizerCase))
  }
  return results.map(({ name, outcome, reason }) => ({
    name,
    measured: outcome === 'passed' ? 0 : 1,
    bound: 0,
    ok: outcome === 'passed',
    ...(reason === undefined ? {} : { detail: reason }),
  }))
}
