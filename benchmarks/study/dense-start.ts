import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createTrainer, listCheckpoints, type StepEvent } from '@phsa/trainer'
import { evaluateModel, type ModelEvaluation, probeRetrieval } from './evaluate-model.js'
import { type ResultOrigin, readResult, writeResult } from './result-file.js'
import { type CurvePoint, lossCurve, readSteps, type StepTimes, stepTimes } from './step-times.js'
import type { StudyData } from './study-data.js'
import { describeSteps, secondsSince } from './study-progress.js'
import { configureModel, originOf, resultPath, runOptions, type StudySession, workFolder } from './study-session.js'

/** Dense retrieval while the dense start trained, in percent. */
export interface Probe {
  readonly step: number
  readonly accuracy: number
}

/** The part of a run that all branches of a seed share; plain JSON. */
export interface StartResult extends ResultOrigin, ModelEvaluation {
  /** The texts that were trained and measured on. */
  readonly texts: StudyData['sources']
  readonly parameters: number
  readonly steps: number
  readonly milliseconds: StepTimes
  readonly curve: readonly CurvePoint[]
  readonly probes: readonly Probe[]
}

const NAME = 'start'
/** Steps between two lines on the terminal. */
const REPORT_STEPS = 100
/** Checkpoints of the dense start, the longest piece of a study. */
const CHECKPOINTS = 4

/** Trains the dense start of a seed, or goes on with it, measures it and leaves its checkpoint. Nothing is done where its result is there. */
export async function denseStart(session: StudySession): Promise<StartResult> {
  const { config, model, say } = session
  const origin = originOf(session)
  const path = resultPath(session, NAME)
  const known = readResult<StartResult>(path, origin.identity)
  if (known) return known
  configureModel(session)
  const folder = workFolder(session)
  const probes = await trainStart(session, folder)
  const events = readSteps(join(folder, 'steps.jsonl'), 0)
  const started = performance.now()
  const result: StartResult = {
    ...origin,
    texts: session.data.sources,
    parameters: model.parameterCount,
    steps: config.denseSteps,
    milliseconds: stepTimes(events, config.batch.sequences * config.batch.tokens),
    curve: lossCurve(events),
    probes,
    ...(await evaluateModel(session, ['phsa', 'mean-pool'])),
  }
  writeResult(path, result)
  const { verdict, heldOut } = result.calibration
  say(
    `start measured in ${secondsSince(started)} s; calibration: punctuation ${verdict}, lambda 0.5 ${heldOut.half.toFixed(4)}, 1 ${heldOut.one.toFixed(4)}`,
  )
  return result
}

/** Checkpoint that the branches begin with. @throws TypeError where it is gone */
export async function startCheckpoint(session: StudySession): Promise<string> {
  const folder = join(workFolder(session), 'checkpoints')
  const last = (await listCheckpoints(folder)).at(-1)
  if (last?.step === session.config.denseSteps) return last.path
  throw new TypeError(
    `${folder} has no checkpoint of step ${session.config.denseSteps}; remove ${resultPath(session, NAME)} to train it again.`,
  )
}

async function trainStart(session: StudySession, folder: string): Promise<Probe[]> {
  const { config, signal, say } = session
  const { denseSteps, evaluation } = config
  const checkpoints = join(folder, 'checkpoints')
  const probeFile = join(folder, 'probes.json')
  mkdirSync(folder, { recursive: true })
  const last = (await listCheckpoints(checkpoints)).at(-1)?.step ?? 0
  const probes = readProbes(probeFile).filter(({ step }) => step <= last)
  // The run is planned to the end of the branches, and left where they part.
  const isThere = new AbortController()
  if (last >= denseSteps) isThere.abort()
  const trainer = createTrainer({
    ...runOptions(session, { name: NAME, policy: 'dense' }),
    checkpoint: { folder: checkpoints, every: Math.ceil(denseSteps / CHECKPOINTS), keep: 1 },
    resume: { from: checkpoints, orStart: true },
    log: join(folder, 'steps.jsonl'),
    signal: AbortSignal.any([signal, isThere.signal]),
  })
  let recent: StepEvent[] = []
  let reached = last
  for await (const event of trainer) {
    reached = event.step
    recent.push(event)
    if (event.step % evaluation.probe.every === 0) {
      const accuracy = await probeRetrieval(session)
      probes.push({ step: event.step, accuracy })
      writeFileSync(probeFile, JSON.stringify(probes))
      say(`start, step ${event.step}: dense retrieval ${accuracy.toFixed(1)} %`)
    }
    if (event.step % REPORT_STEPS === 0) {
      say(`start, step ${event.step}: ${describeSteps(recent, config.batch)}`)
      recent = []
    }
    if (event.step === denseSteps) isThere.abort()
  }
  if (reached < denseSteps) throw signal.reason
  return probes
}

function readProbes(file: string): Probe[] {
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : []
}
