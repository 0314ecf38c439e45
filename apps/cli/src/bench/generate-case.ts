import { RandomStream } from '@phsa/core'
import { DecoderModel, generate } from '@phsa/model'
import type { BenchContext, Measurement, ModelBenchCase } from './bench-case.js'
import { type BenchModel, modelShape, type Sparsity, sparsityName } from './bench-model.js'
import { checkGeneration } from './generation-gate.js'
import { isEnough, timingOf } from './timing.js'

/** How much is read and written. */
export interface GenerationShape {
  readonly promptTokens: number
  readonly newTokens: number
}

/** Reading a prompt and writing on, token by token. */
export function generateCase(model: BenchModel, sparsity: Sparsity, shape: GenerationShape): ModelBenchCase {
  return {
    group: 'generate',
    name: `generate ${sparsityName(model, sparsity)}`,
    shape: { ...shape, ...modelShape(model, sparsity) },
    gate: (context) => checkGeneration(context, model, sparsity),
    measure: (context) => measureGeneration(context, model, sparsity, shape),
  }
}

async function measureGeneration(
  { backend, limits, interruption }: BenchContext,
  { config, phsa }: BenchModel,
  sparsity: Sparsity,
  shape: GenerationShape,
): Promise<Measurement[]> {
  const model = DecoderModel.create({ config, backend, phsa, seed: 1 })
  try {
    for (let index = 0; index < limits.warmUp; index++) await run(model, sparsity, shape, interruption.signal)
    const prefill: number[] = []
    const decode: number[] = []
    while (
      !isEnough(
        prefill.map((seconds, index) => seconds + decode[index]),
        limits,
      )
    ) {
      const seconds = await run(model, sparsity, shape, interruption.signal)
      prefill.push(seconds.prefill)
      decode.push(seconds.decode)
    }
    return [
      // The first new token comes out of the prompt's last position.
      { name: 'prefill', timing: timingOf(prefill, limits.warmUp), tokens: shape.promptTokens },
      { name: 'decode', timing: timingOf(decode, limits.warmUp), tokens: shape.newTokens - 1 },
    ]
  } finally {
    model.dispose()
  }
}

/** Seconds to the first new token, and from there to the last. */
async function run(
  model: DecoderModel,
  sparsity: Sparsity,
  { promptTokens, newTokens }: GenerationShape,
  signal?: AbortSignal,
): Promise<{ prefill: number; decode: number }> {
  const random = new RandomStream(4)
  const prompt = Int32Array.from({ length: promptTokens }, () => random.below(model.config.vocabSize))
  const started = performance.now()
  let first: number | undefined
  // No stop tokens: every run writes as many.
  const options = { maxNewTokens: newTokens, stopTokenIds: [], ...(sparsity === 'dense' ? { attention: 'dense' as const } : {}), signal }
  for await (const _ of generate(model, prompt, options)) first ??= performance.now()
  const read = first ?? started
  return { prefill: (read - started) / 1000, decode: (performance.now() - read) / 1000 }
}
