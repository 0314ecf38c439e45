import { defaultPageTokens, PagedDecoder, type PagedStep, type TrainingBatch } from '@phsa/model'
import { neighbourOverlap } from '../attention/neighbour-overlap.js'
import type { BenchContext, TimedModel } from './bench-context.js'
import { topicBatch } from './bench-weights.js'
import { attentionChoice, type PrefillPlan } from './model-plan.js'
import type { ModelFigures } from './model-result.js'
import { requireFinite } from './not-finite-error.js'
import { disposeStep, uploadPromptChunk } from './paged-steps.js'
import { timeClasses, timeQueued } from './run-times.js'

/** Where so many blocks can be chosen from, the overlap of neighbours' choices says something. */
const CANDIDATES = 64

/** The logits of a prompt's last token: the whole prompt packed, as the model's `logits` does it, or in chunks through the paged cache. */
export async function measurePrefill(context: BenchContext, row: PrefillPlan): Promise<ModelFigures> {
  return row.form === 'packed' ? measurePacked(context, row) : measurePaged(context, row)
}

async function measurePacked({ plan, plain, timer, rate }: BenchContext, { length, attention }: PrefillPlan): Promise<ModelFigures> {
  const { model, timed } = plain
  const { memory } = model.backend
  model.reservePositions(length)
  const choice = attentionChoice(attention, plan.phsa)
  const batch = topicBatch(length, plan.config.vocabSize, length)
  const pass = () => model.logits(batch, choice, Int32Array.of(length - 1))
  const run = () => pass().dispose()
  timed.takePeak()
  const queued = timeQueued({ timed, timer }, length, run)
  const peakBytes = timed.takePeak()
  const classes = await timeClasses(timed, rate, queued.hostMilliseconds, run)
  const logits = pass()
  requireFinite('logits', await memory.download(logits).finally(() => logits.dispose()))
  const overlap = attention === 'phsa' ? await meanOverlap(plain, batch) : undefined
  return { queued, classes, peakBytes, ...(overlap === undefined ? {} : { overlap }) }
}

async function measurePaged({ plan, plain, timer, rate }: BenchContext, { length, attention }: PrefillPlan): Promise<ModelFigures> {
  const { model, timed } = plain
  const { memory } = model.backend
  const pageTokens = defaultPageTokens(plan.phsa.blockSize)
  const pages = Math.ceil(length / pageTokens)
  const table = Int32Array.from({ length: pages }, (_, page) => page)
  const { ids, punctuation } = topicBatch(length, plan.config.vocabSize, length)
  const steps: PagedStep[] = []
  const decoder = new PagedDecoder(model, { attention: attentionChoice(attention, plan.phsa), pages, pageTokens })
  const last = memory.upload(Int32Array.of((length - 1) % plan.chunk), [1])
  try {
    for (let start = 0; start < length; start += plan.chunk) {
      const end = Math.min(length, start + plan.chunk)
      const chunk = { ids: ids.subarray(start, end), punctuation: punctuation.subarray(start, end), start, table }
      steps.push(uploadPromptChunk(memory, chunk, plan.phsa))
    }
    const pass = () =>
      memory.scope(() => {
        for (const step of steps.slice(0, -1)) decoder.advance(step).dispose()
        return decoder.logits(decoder.advance(steps[steps.length - 1]), last)
      })
    const run = () => pass().dispose()
    timed.takePeak()
    const queued = timeQueued({ timed, timer }, length, run)
    const peakBytes = timed.takePeak()
    const classes = await timeClasses(timed, rate, queued.hostMilliseconds, run)
    const logits = pass()
    requireFinite('logits', await memory.download(logits).finally(() => logits.dispose()))
    return { queued, classes, peakBytes }
  } finally {
    for (const step of steps) disposeStep(step)
    last.dispose()
    decoder.dispose()
  }
}

/** Of the first, the middle and the last layer; undefined where the sequence is too short to say. */
async function meanOverlap({ model }: TimedModel, batch: TrainingBatch): Promise<number | undefined> {
  const { memory } = model.backend
  const { layers, kvHeads } = model.config
  const { initTokens, localTokens, blockSize, topK } = model.phsa
  const chosen = memory.scope(() => {
    const each = model.attentionInputs(batch)
    return [...new Set([0, Math.floor(layers / 2), layers - 1])].flatMap((layer) => each[layer].selected ?? [])
  })
  const overlaps: number[] = []
  for (const tensor of chosen) {
    const selected = await memory.download(tensor).finally(() => tensor.dispose())
    const from = initTokens + localTokens + CANDIDATES * blockSize
    const overlap = neighbourOverlap({ selected, kvHeads, length: batch.ids.length, topK }, from)
    if (overlap !== undefined) overlaps.push(overlap)
  }
  return overlaps.length === 0 ? undefined : overlaps.reduce((sum, overlap) => sum + overlap, 0) / overlaps.length
}
