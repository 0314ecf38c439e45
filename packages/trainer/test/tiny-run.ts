import { SparsitySchedule } from '@phsa/core'
import { createTrainer } from '../src/create-trainer.js'
import type { StepEvent } from '../src/step-event.js'
import type { TrainerOptions } from '../src/trainer-options.js'
import { letterData, letterPunctuation, tinyModel } from './tiny-model.js'

/** Three documents. */
export const runText =
  'one two three, four five six.\n\n\nseven eight nine ten, eleven twelve.\n\n\nthe end of the counting, again and again.'

/** Six steps of a tiny model: dense, then sparse with distillation, so that each part of the state matters. */
export async function tinyRun(changes: Partial<TrainerOptions> = {}): Promise<TrainerOptions> {
  return {
    model: await tinyModel(),
    data: await letterData(runText),
    punctuation: letterPunctuation,
    batch: { sequences: 2, tokens: 40 },
    steps: 6,
    seed: 5,
    schedule: new SparsitySchedule([
      { kind: 'dense', share: 1 / 3 },
      { kind: 'sparse', share: 2 / 3, topK: 2, distillation: true },
    ]),
    distillation: { rowsPerSequence: 6 },
    optimizer: { learningRate: 0.01, warmupSteps: 2 },
    ...changes,
  } as TrainerOptions
}

/** Trains; stops with a checkpoint after a step. */
export async function collect(options: TrainerOptions, stopAfter?: number): Promise<StepEvent[]> {
  const stop = new AbortController()
  const events: StepEvent[] = []
  for await (const event of createTrainer({ ...options, signal: stop.signal })) {
    events.push(event)
    if (event.step === stopAfter) stop.abort()
  }
  return events
}

/** What must be the same in both runs. */
export const numbers = (events: readonly StepEvent[]) => events.map(({ tokensPerSecond: _, checkpoint: __, ...event }) => event)
