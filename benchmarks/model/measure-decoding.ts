import type { CapturedStep, Tensor } from '@phsa/core'
import { defaultPageTokens, PagedDecoder } from '@phsa/model'
import type { BenchContext } from './bench-context.js'
import { topicBatch } from './bench-weights.js'
import { attentionChoice, type DecodePlan } from './model-plan.js'
import type { ModelFigures } from './model-result.js'
import { NotFiniteError } from './not-finite-error.js'
import { type DecodedBatch, disposeStep, uploadDecodeStep, uploadPromptChunk, writePosition } from './paged-steps.js'
import { timeClasses, timeSteps } from './run-times.js'

/** Tokens that are decoded one after the other. */
const STEPS = 16
/** Steps before those that count. */
const WARM_UP = 2
/** Share of the GPU's memory that model and caches may take: activations and kernels need the rest. */
const MEMORY_SHARE = 0.85

/**
 * One more token for each sequence, greedily: through all layers, the logits, the choice of the token on the device, and its id downloaded, as a server has
 * to. The caches hold the keys of random tokens.
 * @throws OutOfMemoryError
 */
export async function measureDecoding(context: BenchContext, row: DecodePlan): Promise<ModelFigures> {
  const { plan, recording, rate } = context
  const { model, timed } = recording
  const { memory } = model.backend
  const pageTokens = defaultPageTokens(plan.phsa.blockSize)
  const pagesEach = Math.ceil((row.length + STEPS + WARM_UP) / pageTokens)
  const sequences = sequencesThatFit(context, row, pagesEach, pageTokens)
  // Caches of PHSA whatever the row says: a sequence is dense by its own entry in the batch.
  const attention = attentionChoice('phsa', plan.phsa)
  const decoder = new PagedDecoder(model, { attention, pages: pagesEach * sequences, pageTokens })
  const batch: DecodedBatch = { sequences, pagesEach, pageTokens, attention: row.attention }
  const step = uploadDecodeStep(memory, batch, plan.phsa)
  const rows = memory.upload(
    Int32Array.from({ length: sequences }, (_, index) => index),
    [sequences],
  )
  // Temperature 0, whatever the rest is.
  const control = memory.upload(new Float32Array(sequences * 5), [sequences, 5])
  const queue = () =>
    memory.scope(() => {
      const drawn = model.backend.ops.sample(decoder.logits(decoder.advance(step), rows), control)
      memory.copy(drawn, step.ids)
      return drawn
    })
  let captured: CapturedStep<Tensor> | undefined
  try {
    timed.withoutPagedAttention(() => fillCaches(context, decoder, batch, row.length))
    timed.takePeak()
    const series = async (next: () => Promise<Tensor> | Tensor, owns: boolean) => {
      let position = row.length
      const one = async () => {
        writePosition(memory, step, position++)
        const drawn = await next()
        const ids = await memory.download(drawn)
        if (owns) drawn.dispose()
        if (ids.some((id) => !(id >= 0 && id < plan.config.vocabSize))) throw new NotFiniteError(`decoded ${ids.join(' ')}`)
      }
      for (let index = 0; index < WARM_UP; index++) await one()
      return timeSteps(timed, sequences, STEPS, one)
    }
    const queued = await series(queue, true)
    const peakBytes = timed.takePeak()
    writePosition(memory, step, row.length)
    const classes = await timeClasses(timed, rate, queued.hostMilliseconds, () => queue().dispose())
    const measured = { batch: sequences, queued, classes, peakBytes }
    if (!model.backend.capture) return measured
    captured = await model.backend.capture(queue)
    const { replay, result } = captured
    const replayed = await series(() => {
      replay()
      return result
    }, false)
    return { ...measured, captured: replayed }
  } finally {
    captured?.dispose()
    for (const tensor of [rows, control]) tensor.dispose()
    disposeStep(step)
    decoder.dispose()
  }
}

/** As many sequences as were planned, or fewer where their caches do not fit. */
function sequencesThatFit({ plan, backend, recording }: BenchContext, row: DecodePlan, pagesEach: number, pageTokens: number): number {
  const { memory } = backend
  const one = new PagedDecoder(recording.model, { attention: attentionChoice('phsa', plan.phsa), pages: 1, pageTokens })
  const bytesEach = one.bytes * pagesEach
  one.dispose()
  const room = backend.deviceMemory().totalBytes * MEMORY_SHARE - memory.usage().bytes
  return Math.max(1, Math.min(row.planned, Math.floor(room / bytesEach)))
}

/** Sequence by sequence in chunks: all keys of random tokens, whatever they would have attended to. */
function fillCaches(
  { plan, recording }: BenchContext,
  decoder: PagedDecoder,
  { sequences, pagesEach }: DecodedBatch,
  length: number,
): void {
  const { memory } = recording.model.backend
  for (let sequence = 0; sequence < sequences; sequence++) {
    const { ids, punctuation } = topicBatch(length, plan.config.vocabSize, sequence)
    const table = Int32Array.from({ length: pagesEach }, (_, page) => sequence * pagesEach + page)
    for (let start = 0; start < length; start += plan.chunk) {
      const part = {
        ids: ids.subarray(start, start + plan.chunk),
        punctuation: punctuation.subarray(start, start + plan.chunk),
        start,
        table,
      }
      memory.scope(() => void decoder.advance(uploadPromptChunk(memory, part, plan.phsa)))
    }
  }
}
