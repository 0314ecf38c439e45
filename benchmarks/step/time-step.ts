import { elementCount, type Tensor } from '@phsa/core'
import type { CudaModelBackend } from '@phsa/kernels-cuda'
import { DecoderModel, defaultPageTokens, PagedDecoder } from '@phsa/model'
import { topicBatch } from '../model/bench-weights.js'
import { type AttentionName, attentionChoice, BENCH_PHSA, QWEN3_06B } from '../model/model-plan.js'
import { disposeStep, uploadDecodeStep, uploadPromptChunk, writePosition } from '../model/paged-steps.js'
import type { StepRow } from './step-result.js'
import { timeRecorded } from './time-recorded.js'
import { type Variant, variantBackend } from './variant-backend.js'

/** Which step. */
export interface StepPlan {
  readonly batch: number
  /** A multiple of the block size: the token that is decoded over and over begins a block, so appending it again changes nothing. */
  readonly keys: number
  readonly attention: AttentionName
  readonly variant: Variant
}

/** Embedding, all layers, logits and the draw of a token a sequence. */
export async function timeStep(
  backend: CudaModelBackend,
  parameters: ReadonlyMap<string, Tensor>,
  copyBytes: number,
  plan: StepPlan,
): Promise<StepRow> {
  const { batch: sequences, keys, attention, variant } = plan
  const { memory, ops } = backend
  const model = new DecoderModel(
    { config: QWEN3_06B, backend: variantBackend(backend, variant), phsa: BENCH_PHSA, dtype: 'bf16' },
    parameters,
  )
  const pageTokens = defaultPageTokens(BENCH_PHSA.blockSize)
  const pagesEach = Math.ceil((keys + 1) / pageTokens)
  const decoder = new PagedDecoder(model, { attention: attentionChoice('phsa', BENCH_PHSA), pages: pagesEach * sequences, pageTokens })
  const step = uploadDecodeStep(memory, { sequences, pagesEach, pageTokens, attention }, BENCH_PHSA)
  const rows = memory.upload(
    Int32Array.from({ length: sequences }, (_, index) => index),
    [sequences],
  )
  const control = memory.upload(new Float32Array(sequences * 5), [sequences, 5])
  try {
    for (let sequence = 0; sequence < sequences; sequence++) {
      const { ids, punctuation } = topicBatch(keys, QWEN3_06B.vocabSize, sequence)
      const table = Int32Array.from({ length: pagesEach }, (_, page) => sequence * pagesEach + page)
      memory.scope(() => void decoder.advance(uploadPromptChunk(memory, { ids, punctuation, start: 0, table }, BENCH_PHSA)))
    }
    writePosition(memory, step, keys)
    const { milliseconds } = await timeRecorded(backend, () => {
      memory.copy(ops.sample(decoder.logits(decoder.advance(step), rows), control), step.ids)
    })
    const bytes = [...parameters.values()].reduce((sum, { shape }) => sum + 2 * elementCount(shape), 0)
    return { ...plan, milliseconds, floorShare: bytes / copyBytes / (milliseconds / 1e3) }
  } finally {
    for (const tensor of [rows, control]) tensor.dispose()
    disposeStep(step)
    decoder.dispose()
  }
}
