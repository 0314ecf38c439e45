import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { PhsaConfig, PolicyName } from '@phsa/core'
import { createTrainer, listCheckpoints, type StepEvent } from '@phsa/trainer'
import { type StartResult, startCheckpoint } from './dense-start.js'
import { evaluateModel, type ModelEvaluation } from './evaluate-model.js'
import { type ResultOrigin, readResult, writeResult } from './result-file.js'
import { type CurvePoint, lossCurve, readSteps, type StepTimes, stepTimes } from './step-times.js'
import type { BranchConfig } from './study-config.js'
import { describeSteps, secondsSince } from './study-progress.js'
import { configureModel, originOf, resultPath, runOptions, type StudySession, workFolder } from './study-session.js'

/** One branch of one seed; plain JSON. */
export interface BranchResult extends ResultOrigin, ModelEvaluation {
  readonly branch: BranchConfig
  /** Parameters that it was measured with: a learned or calibrated lambda is in them. */
  readonly phsa: PhsaConfig
  /** Of a step of this branch. */
  readonly milliseconds: StepTimes
  /** Of this branch's own steps. */
  readonly curve: readonly CurvePoint[]
}

/** Steps between two lines on the terminal. */
const REPORT_STEPS = 120

/** Trains a branch from the dense start's checkpoint, or goes on with it, and measures it. Nothing is done where its result is there. */
export async function trainBranch(session: StudySession, branch: BranchConfig, start: StartResult): Promise<BranchResult> {
  const { config, model, say } = session
  const origin = originOf(session, branch)
  const path = resultPath(session, branch.name)
  const known = readResult<BranchResult>(path, origin.identity)
  if (known) return known
  configureModel(session, { ...branch.phsa, ...(branch.calibratedLambda && { lambda: start.calibration.lambda }) })
  const folder = workFolder(session, branch)
  const checkpoints = join(folder, 'checkpoints')
  await trainToEnd(session, branch, folder, checkpoints)
  const events = readSteps(join(folder, 'steps.jsonl'), config.denseSteps)
  const started = performance.now()
  const result: BranchResult = {
    ...origin,
    branch,
    phsa: model.phsa,
    milliseconds: stepTimes(events, config.batch.sequences * config.batch.tokens),
    curve: lossCurve(events),
    ...(await evaluateModel(session, measuredPolicies(branch))),
  }
  writeResult(path, result)
  rmSync(checkpoints, { recursive: true, force: true })
  say(`${branch.name} measured in ${secondsSince(started)} s: ${retrievalLine(result)}`)
  return result
}

/** A sparse branch with its own policy, and with mean-pool as the control; what was trained densely with all of them. */
function measuredPolicies({ policy }: BranchConfig): PolicyName[] {
  return policy === 'dense' ? ['phsa', 'mean-pool', 'infllm-v2'] : [...new Set<PolicyName>([policy, 'mean-pool'])]
}

async function trainToEnd(session: StudySession, branch: BranchConfig, folder: string, checkpoints: string): Promise<void> {
  const { config, signal, say } = session
  const own = (await listCheckpoints(checkpoints)).at(-1)
  const trainer = createTrainer({
    ...runOptions(session, branch),
    // Only where it ends or is stopped: a branch is short.
    checkpoint: { folder: checkpoints, every: config.steps, keep: 1 },
    resume: own?.path ?? (await startCheckpoint(session)),
    log: join(folder, 'steps.jsonl'),
    signal,
  })
  let recent: StepEvent[] = []
  let reached = own?.step ?? config.denseSteps
  for await (const event of trainer) {
    reached = event.step
    recent.push(event)
    if (event.step % REPORT_STEPS !== 0 && event.step !== config.steps) continue
    say(`${branch.name}, step ${event.step}: ${describeSteps(recent, config.batch)}`)
    recent = []
  }
  if (reached < config.steps) throw signal.reason
}

function retrievalLine({ retrieval }: BranchResult): string {
  return retrieval
    .map(({ policy, topK, overall }) => `${policy}${topK === 'dense' ? '' : ` ${topK}`} ${overall.accuracy.toFixed(1)}`)
    .join(', ')
}
