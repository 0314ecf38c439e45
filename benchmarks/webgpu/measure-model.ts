import { type CapturedStep, isPhsaError, type Tensor } from '@phsa/core'
import { DecoderModel, defaultPageTokens, PagedDecoder } from '@phsa/model'
import { timing } from '../attention/device-timing.js'
import { topicBatch, uploadWeights } from '../model/bench-weights.js'
import { attentionChoice, type ModelPlan } from '../model/model-plan.js'
import { NotFiniteError, requireFinite } from '../model/not-finite-error.js'
import { disposeStep, uploadDecodeStep, uploadPromptChunk, writePosition } from '../model/paged-steps.js'
import type { Engine } from './engine.js'
import { timeCalls } from './wall-timing.js'
import type { ModelRow } from './webgpu-result.js'

/** Tokens that are decoded one after the other. */
const STEPS = 16
/** Steps before those that count. */
const WARM_UP = 3

/** What a row measures. */
export type ModelRowPlan = Pick<ModelRow, 'what' | 'attention' | 'length' | 'sequences'>

/** A model of random weights on an engine. */
export interface MeasuredModel {
  measure(row: ModelRowPlan): Promise<ModelRow>
  dispose(): void
}

/** The shape of a plan with random weights in the engine's type of 16 bits, or f32. */
export function openModel(engine: Engine, { config, phsa, chunk }: Pick<ModelPlan, 'config' | 'phsa' | 'chunk'>): MeasuredModel {
  const { backend, dtype } = engine
  const model = new DecoderModel({ config, backend, phsa, dtype }, uploadWeights(backend.memory, config, dtype))
  return {
    async measure(plan) {
      const row = { engine: engine.name, dtype, ...plan }
      try {
        const time = plan.what === 'prefill' ? await prefill(plan) : await decode(plan)
        const tokens = plan.what === 'prefill' ? plan.length : plan.sequences
        return { ...row, outcome: 'measured', time, tokensPerSecond: (tokens / time.milliseconds) * 1e3 }
      } catch (error) {
        if (!(error instanceof Error) || isPhsaError(error, 'backend-lost')) throw error
        return { ...row, outcome: error instanceof NotFiniteError ? 'wrong' : 'failed', reason: `${error.name}: ${error.message}` }
      }
    },
    dispose: () => model.dispose(),
  }

  /** The logits of the last token of one prompt. */
  async function prefill({ length, attention }: ModelRowPlan) {
    model.reservePositions(length)
    const choice = attentionChoice(attention, phsa)
    const batch = topicBatch(length, config.vocabSize, length)
    const pass = () => model.logits(batch, choice, Int32Array.of(length - 1))
    const logits = pass()
    requireFinite('logits', await backend.memory.download(logits).finally(() => logits.dispose()))
    return timeCalls(engine.finish, () => pass().dispose())
  }

  /** Recorded steps, each until its ids are on the host, after prompts of random tokens. */
  async function decode({ length, attention, sequences }: ModelRowPlan) {
    const { memory, ops } = backend
    const pageTokens = defaultPageTokens(phsa.blockSize)
    const pagesEach = Math.ceil((length + STEPS + WARM_UP) / pageTokens)
    // Caches of PHSA whatever the row says: a sequence is dense by its own entry in the batch.
    const decoder = new PagedDecoder(model, { attention: attentionChoice('phsa', phsa), pages: pagesEach * sequences, pageTokens })
    const step = uploadDecodeStep(memory, { sequences, pagesEach, pageTokens, attention }, phsa)
    const rows = memory.upload(
      Int32Array.from({ length: sequences }, (_, index) => index),
      [sequences],
    )
    // Temperature 0, whatever the rest is.
    const control = memory.upload(new Float32Array(sequences * 5), [sequences, 5])
    let captured: CapturedStep<Tensor> | undefined
    try {
      for (let sequence = 0; sequence < sequences; sequence++) fill(decoder, sequence, pagesEach, length)
      const queue = () =>
        memory.scope(() => {
          const drawn = ops.sample(decoder.logits(decoder.advance(step), rows), control)
          memory.copy(drawn, step.ids)
          return drawn
        })
      writePosition(memory, step, length)
      captured = await backend.capture?.(queue)
      const samples: number[] = []
      for (let index = 0; index < WARM_UP + STEPS; index++) {
        const started = performance.now()
        writePosition(memory, step, length + index)
        captured?.replay()
        const drawn = captured?.result ?? queue()
        const ids = await memory.download(drawn)
        if (!captured) drawn.dispose()
        if (ids.some((id) => !(id >= 0 && id < config.vocabSize))) throw new NotFiniteError(`decoded ${ids.join(' ')}`)
        if (index >= WARM_UP) samples.push(performance.now() - started)
      }
      return timing(samples)
    } finally {
      captured?.dispose()
      for (const tensor of [rows, control]) tensor.dispose()
      disposeStep(step)
      decoder.dispose()
    }
  }

  function fill(decoder: PagedDecoder, sequence: number, pagesEach: number, length: number): void {
    const { ids, punctuation } = topicBatch(length, config.vocabSize, sequence)
    const table = Int32Array.from({ length: pagesEach }, (_, page) => sequence * pagesEach + page)
    for (let start = 0; start < length; start += chunk) {
      const part = { ids: ids.subarray(start, start + chunk), punctuation: punctuation.subarray(start, start + chunk), start, table }
      backend.memory.scope(() => void decoder.advance(uploadPromptChunk(backend.memory, part, phsa)))
    }
  }
}
