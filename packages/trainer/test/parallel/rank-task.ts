import { type DType, type HostArray, type ModelBackend, SparsitySchedule } from '@phsa/core'
import { createTrainer } from '../../src/create-trainer.js'
import type { StepEvent } from '../../src/step-event.js'
import type { TrainingData } from '../../src/training-data.js'
import { letterData, letterPunctuation, tinyConfig, tinyModel } from '../tiny-model.js'

/** A run that each rank of a group makes, or one rank alone; what a thread can be told. */
export interface RankTask {
  readonly dtype: DType
  readonly steps: number
  readonly accumulate: number
  readonly policy?: string
  /** With it the stages after the first third are sparse and distil. */
  readonly isSparse?: boolean
  readonly isTied?: boolean
  /** With a learned lambda, an average of the weights and recall. */
  readonly learns?: boolean
  /** A row that is no number. */
  readonly damagedRow?: number
  /** A row that cannot be read, by the rank that must not have it. */
  readonly missing?: { readonly rank: number; readonly row: number }
  /** The rank whose model is another one. */
  readonly stranger?: number
  /** The rank that is asked to stop while it looks at a step. */
  readonly stop?: { readonly rank: number; readonly step: number }
  /** Of the checkpoints and the log. */
  readonly folder?: string
  readonly resume?: boolean
}

/** What came of it. */
export interface RankResult {
  readonly events: readonly Omit<StepEvent, 'tokensPerSecond'>[]
  readonly parameters: ReadonlyMap<string, HostArray>
}

/** Documents of very different lengths, several in most rows. */
const TEXT =
  'when the moon is full, the sea is high.\n\n\nwhen the moon is new, the sea is low; so it is, and so it was, and nobody asks why.\n\n\nno.\n\n\nthe fisher knows the moon, and the moon, the sea.'

/** Runs a task on a backend, as the rank that its collective says. */
export async function runRankTask(task: RankTask, backend: ModelBackend): Promise<RankResult> {
  const rank = backend.collective?.rank ?? 0
  const config = { ...tinyConfig, tieWordEmbeddings: task.isTied ?? true }
  const model = await tinyModel({ backend, config, dtype: task.dtype, seed: task.stranger === rank ? 8 : 7 })
  const sparse = { kind: 'sparse', share: 0.7, topK: 2, distillation: true } as const
  const stop = new AbortController()
  const trainer = createTrainer({
    model,
    data: await taskData(task, rank),
    punctuation: letterPunctuation,
    batch: { sequences: 1, tokens: 40, accumulate: task.accumulate },
    steps: task.steps,
    seed: 8,
    ...(task.policy === undefined ? {} : { policy: task.policy }),
    schedule: new SparsitySchedule(task.isSparse ? [{ kind: 'dense', share: 0.3 }, sparse] : [{ kind: 'dense', share: 1 }]),
    distillation: { rowsPerSequence: 6, ...(task.learns && { lambda: 'learned' as const }) },
    ...(task.learns && { ema: { decay: 0.9 }, recall: { every: 2, rows: 4 } }),
    optimizer: { learningRate: 0.01, warmupSteps: 1 },
    signal: stop.signal,
    ...(task.folder === undefined ? {} : { checkpoint: { folder: task.folder, every: 3 }, log: `${task.folder}.jsonl` }),
    ...(task.resume && task.folder !== undefined ? { resume: task.folder } : {}),
  })
  const events: RankResult['events'][number][] = []
  for await (const { tokensPerSecond: _, ...event } of trainer) {
    events.push(event)
    if (task.stop?.rank === rank && task.stop.step === event.step) stop.abort()
  }
  const parameters = new Map<string, HostArray>()
  for (const [name, tensor] of model.parameters) parameters.set(name, await backend.memory.download(tensor))
  model.dispose()
  return { events, parameters }
}

async function taskData({ damagedRow, missing }: RankTask, rank: number): Promise<TrainingData> {
  const text = await letterData(TEXT)
  return {
    fingerprint: text.fingerprint,
    largestId: text.largestId,
    rows: (options) => ({
      row: (index) => {
        if (missing?.rank === rank && missing.row === index) throw new Error(`rank ${rank} cannot read row ${index}`)
        const { sequences } = text.rows(options).row(index)
        const weight = index === damagedRow ? Number.NaN : 1 + (index % 3)
        return { sequences, targetWeights: sequences.map(({ length }) => new Float32Array(length).fill(weight)) }
      },
    }),
  }
}
