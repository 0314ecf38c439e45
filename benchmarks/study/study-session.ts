import { join } from 'node:path'
import { phsaConfig, SparsitySchedule, type SparsityStage } from '@phsa/core'
import type { DecoderModel } from '@phsa/model'
import type { TrainerOptions } from '@phsa/trainer'
import type { ResultOrigin } from './result-file.js'
import { type BranchConfig, type StudyConfig, studyIdentity } from './study-config.js'
import type { StudyData } from './study-data.js'

/** One seed of a study in one sitting. */
export interface StudySession {
  readonly config: StudyConfig
  readonly data: StudyData
  /** Takes the parameters of each branch in turn. */
  readonly model: DecoderModel
  readonly seed: number
  /** Folder of the results, one file for each seed and branch. */
  readonly out: string
  /** Folder of checkpoints and step logs; needed until the seed is done. */
  readonly work: string
  readonly commit: string
  /** Ends the sitting; what is not done is gone on with in the next one. */
  readonly signal: AbortSignal
  readonly say: (line: string) => void
}

/** File of a result. @param name a branch, or `start` */
export function resultPath({ out, seed }: Pick<StudySession, 'out' | 'seed'>, name: string): string {
  return join(out, `seed-${seed}`, `${name}.json`)
}

/** Folder of checkpoints, with the step log beside them; another one for other settings. @param branch absent for the dense start */
export function workFolder({ config, work, seed }: Pick<StudySession, 'config' | 'work' | 'seed'>, branch?: BranchConfig): string {
  return join(work, `seed-${seed}`, `${branch?.name ?? 'start'}-${studyIdentity(config, branch)}`)
}

/** What a result says of its origin. @param branch absent for the dense start */
export function originOf({ config, seed, commit, model }: StudySession, branch?: BranchConfig): ResultOrigin {
  return { identity: studyIdentity(config, branch), seed, createdAt: new Date().toISOString(), commit, device: model.backend.device }
}

/** Sets the model's PHSA parameters to the study's, with changes. */
export function configureModel({ config, model }: StudySession, changes: BranchConfig['phsa'] = {}): void {
  model.reconfigure(phsaConfig(changes, phsaConfig(config.phsa)))
}

/** The run of a branch, of which the dense start is the first part. */
export function runOptions({ config, data, model, seed }: StudySession, branch: BranchConfig): TrainerOptions {
  const { batch, steps, denseSteps, optimizer } = config
  const stepTokens = batch.sequences * batch.tokens
  const sparseTokens = (steps - denseSteps) * stepTokens
  const stages = branch.stages ?? [{ share: 1, topK: phsaConfig(config.phsa).topK }]
  const sparse = stages.map(
    ({ share, topK }): SparsityStage => ({
      kind: 'sparse',
      tokens: Math.round(share * sparseTokens),
      topK,
      distillation: branch.distillation !== undefined,
    }),
  )
  const dense: SparsityStage = { kind: 'dense', tokens: denseSteps * stepTokens }
  return {
    model,
    data: data.train,
    punctuation: data.punctuation,
    batch,
    steps,
    optimizer,
    seed,
    policy: branch.policy,
    schedule: new SparsitySchedule(branch.policy === 'dense' ? [dense] : [dense, ...sparse]),
    distillation: branch.distillation,
  }
}
