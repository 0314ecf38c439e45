import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { DType, PhsaConfig, PolicyName } from '@phsa/core'
import type { DecoderConfig } from '@phsa/model'
import type { DistillationOptions, NeedleRowOptions, OptimizerOptions } from '@phsa/trainer'

/** One way to go on from the dense start. */
export interface BranchConfig {
  readonly name: string
  /** How its sparse steps choose blocks; `dense` has none. */
  readonly policy: PolicyName
  /** Changes of the study's PHSA parameters, in training and in evaluation. */
  readonly phsa?: Partial<PhsaConfig>
  /** Parts of the sparse steps, whose shares sum to 1; default all of them at the study's topK. */
  readonly stages?: readonly { readonly share: number; readonly topK: number | { readonly from: number; readonly to: number } }[]
  /** Block distillation in all sparse steps; absent for none. */
  readonly distillation?: DistillationOptions
  /** Takes the lambdas that a calibration of the dense start chose. */
  readonly calibratedLambda?: boolean
}

/** What is measured of each model. */
export interface EvaluationConfig {
  readonly topKs: readonly number[]
  /** Of each length and depth so many prompts. */
  readonly retrieval: {
    readonly lengths: readonly number[]
    readonly depths: readonly number[]
    readonly trials: number
    readonly batchTokens: number
  }
  /** Windows of held-out text for perplexity and attention-mass recall, and query positions of each. */
  readonly windows: number
  readonly rows: number
  /** Further windows, for calibration. */
  readonly calibration: { readonly windows: number; readonly rows: number }
  /** Retrieval of the dense start while it trains: steps between two, and prompts of each length and depth. */
  readonly probe: { readonly every: number; readonly trials: number }
}

/** Everything that decides a study but its text; `config.json` of its folder. */
export interface StudyConfig {
  readonly model: DecoderConfig
  readonly dtype: DType
  readonly phsa: Partial<PhsaConfig>
  readonly seeds: readonly number[]
  /** Of a whole run, and how many of them the branches of a seed share. */
  readonly steps: number
  readonly denseSteps: number
  readonly batch: { readonly sequences: number; readonly tokens: number }
  readonly optimizer: OptimizerOptions
  readonly needles: Omit<NeedleRowOptions, 'data' | 'task'>
  readonly evaluation: EvaluationConfig
  readonly branches: readonly BranchConfig[]
}

/** Reads a study's configuration. Settings of the trainer are checked by the trainer. @throws TypeError naming the branch that is wrong */
export function readStudyConfig(path: string): StudyConfig {
  const config = JSON.parse(readFileSync(path, 'utf8')) as StudyConfig
  const names = config.branches.map(({ name }) => name)
  for (const [index, name] of names.entries()) {
    // Names are folders, beside that of the dense start.
    if (/^[a-z0-9-]+$/.test(name) && name !== 'start' && names.indexOf(name) === index) continue
    throw new TypeError(`${path}: branch ${index} is called ${name}; give each a name of its own in small letters, digits and hyphens.`)
  }
  if (!(config.denseSteps > 0 && config.denseSteps < config.steps)) {
    throw new TypeError(`${path}: denseSteps is ${config.denseSteps} of ${config.steps} steps; it must lie between 0 and them.`)
  }
  return config
}

/** Names what a result depends on: all settings but which seeds and other branches there are. @param branch absent for the dense start */
export function studyIdentity({ seeds: _, branches: __, ...shared }: StudyConfig, branch?: BranchConfig): string {
  return createHash('sha256')
    .update(JSON.stringify([shared, branch ?? null]))
    .digest('hex')
    .slice(0, 16)
}
