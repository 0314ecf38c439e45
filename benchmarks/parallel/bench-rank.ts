import { reference, SparsitySchedule } from '@phsa/core'
import { type CudaModelBackend, cuda } from '@phsa/kernels-cuda'
import { DecoderModel } from '@phsa/model'
import { createTrainer } from '@phsa/trainer'
import { digestTensors } from '../../packages/trainer/src/parallel/require-same-ranks.js'
import { timing } from '../attention/device-timing.js'
import { topicBatch, uploadWeights } from '../model/bench-weights.js'
import type { ParallelPlan, StepsPlan } from './parallel-plan.js'
import { pipeCollective } from './pipe-collective.js'
import { type WaitClock, waitClock } from './wait-clock.js'

/** More steps than are ever taken. */
const MOST_STEPS = 100_000
/** Rows that are made before the first step and come again and again: data that is there costs a step nothing. */
const ROWS = 64

/** Steps of one kind on one rank; times in milliseconds. Plain JSON. */
export interface StepsReport {
  readonly kind: 'steps'
  readonly name: string
  /** Of all ranks. */
  readonly tokensPerStep: number
  readonly step: ReturnType<typeof timing>
  readonly tokensPerSecond: number
  /** For which the GPU's queue waited for other ranks, the median of a step; and its share of the median step. */
  readonly waitMilliseconds: number
  readonly waitShare: number
  readonly losses: readonly number[]
  /** 48 bits of the SHA-256 of all parameters after the last step. */
  readonly digest: number
}

/** What a rank says, a line each. */
export type RankReport =
  | { readonly kind: 'joined'; readonly device: string; readonly ranks: number; readonly seconds: number; readonly parameters: number }
  | StepsReport
  /** It trains on and on. */
  | { readonly kind: 'training'; readonly rank: number; readonly pid: number }

/** The backend of a rank: a GPU with its place in the group, or the reference with a pair of pipes. */
export async function openRank(pipes: string | undefined): Promise<CudaModelBackend | Awaited<ReturnType<typeof reference>>> {
  if (pipes === undefined) return cuda({ collective: 'environment' })
  const backend = await reference()
  const { RANK, WORLD_SIZE } = process.env
  return WORLD_SIZE === '2' ? Object.assign(backend, { collective: pipeCollective(backend.memory, pipes, Number(RANK)) }) : backend
}

/** One rank, or the only one: trains every run of the plan, and says how long its steps took. */
export async function measureRank(plan: ParallelPlan, pipes: string | undefined, say: (report: RankReport) => void): Promise<void> {
  const started = performance.now()
  const inner = await openRank(pipes)
  const clock = waitClock(inner)
  const model = openModel(plan, clock)
  try {
    say({
      kind: 'joined',
      device: inner.device,
      ranks: inner.collective?.size ?? 1,
      seconds: (performance.now() - started) / 1000,
      parameters: model.parameterCount,
    })
    for (const run of plan.runs) say(await measureSteps(plan, run, model, clock))
  } finally {
    model.dispose()
    clock.dispose()
    inner.dispose()
  }
}

/** One rank that trains until it is ended or its group fails. Says so after a few steps. */
export async function trainOn(plan: ParallelPlan, pipes: string | undefined, say: (report: RankReport) => void): Promise<void> {
  const inner = await openRank(pipes)
  const clock = waitClock(inner)
  const model = openModel(plan, clock)
  try {
    for await (const { step } of stepsOf(plan, { ...plan.runs[0], microBatches: undefined }, model)) {
      clock.takeWaits()
      if (step === 3) say({ kind: 'training', rank: inner.collective?.rank ?? 0, pid: process.pid })
    }
  } finally {
    model.dispose()
    clock.dispose()
    inner.dispose()
  }
}

function openModel({ config, phsa, dtype }: ParallelPlan, { backend }: WaitClock): DecoderModel {
  return new DecoderModel({ config, backend, phsa, dtype }, uploadWeights(backend.memory, config, dtype))
}

async function measureSteps(plan: ParallelPlan, run: StepsPlan, model: DecoderModel, clock: WaitClock): Promise<StepsReport> {
  const [times, waits, losses]: number[][] = [[], [], []]
  let tokensPerStep = 0
  let last = performance.now()
  for await (const { step, tokens, loss } of stepsOf(plan, run, model)) {
    const now = performance.now()
    const wait = clock.takeWaits()
    if (step > run.warmUp) {
      times.push(now - last)
      waits.push(wait)
    }
    losses.push(loss)
    tokensPerStep = tokens / step
    if (step === run.warmUp + run.steps) break
    last = performance.now()
  }
  const step = timing(times)
  const waitMilliseconds = timing(waits).milliseconds
  return {
    kind: 'steps',
    name: run.name,
    tokensPerStep,
    step,
    tokensPerSecond: (tokensPerStep / step.milliseconds) * 1e3,
    waitMilliseconds,
    waitShare: waitMilliseconds / step.milliseconds,
    losses,
    digest: await digestTensors(model.backend.memory, model.parameters.values()),
  }
}

function stepsOf({ config, sequences, tokens }: ParallelPlan, { topK, microBatches }: StepsPlan, model: DecoderModel) {
  const ranks = model.backend.collective?.size ?? 1
  const rows = Array.from({ length: ROWS }, (_, seed) => ({ sequences: [topicBatch(tokens, config.vocabSize, seed).ids] }))
  return createTrainer({
    model,
    data: { fingerprint: 'topics', largestId: config.vocabSize - 1, rows: () => ({ row: (index) => rows[index % ROWS] }) },
    batch: { sequences, tokens, accumulate: (microBatches ?? ranks) / ranks },
    steps: MOST_STEPS,
    optimizer: { learningRate: 1e-5, warmupSteps: 0, decay: 'none' },
    schedule: new SparsitySchedule([topK === 'dense' ? { kind: 'dense', share: 1 } : { kind: 'sparse', share: 1, topK }]),
  })
}
