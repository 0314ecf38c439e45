import { join } from 'node:path'
import type { EvaluationRow } from '@phsa/trainer'
import { clusterEstimate, type Estimate } from '../../packages/trainer/src/evaluation/cluster-estimate.js'
import type { StartResult } from '../study/dense-start.js'
import type { ModelEvaluation } from '../study/evaluate-model.js'
import { readResult } from '../study/result-file.js'
import { readStudyConfig, type StudyConfig, studyIdentity } from '../study/study-config.js'
import { resultPath } from '../study/study-session.js'
import type { BranchResult } from '../study/train-branch.js'

/** What one seed gave so far. */
export interface SeedResults {
  readonly seed: number
  readonly start: StartResult
  /** By name; those that are done. */
  readonly branches: ReadonlyMap<string, BranchResult>
}

/** A study as far as it is done. */
export interface StudyResults {
  readonly config: StudyConfig
  readonly seeds: readonly SeedResults[]
}

/** A way to attend: dense, or a policy at a topK. */
export interface Budget {
  readonly policy: string
  readonly topK: number | 'dense'
}

/** Dense attention. */
export const DENSE: Budget = { policy: 'dense', topK: 'dense' }

/** Reads `config.json` and `results/` of a study's folder. @throws TypeError for results of other settings */
export function readStudy(folder: string): StudyResults {
  const config = readStudyConfig(join(folder, 'config.json'))
  const out = join(folder, 'results')
  const seeds = config.seeds.flatMap((seed): SeedResults[] => {
    const start = readResult<StartResult>(resultPath({ out, seed }, 'start'), studyIdentity(config))
    if (!start) return []
    const branches = new Map<string, BranchResult>()
    for (const branch of config.branches) {
      const result = readResult<BranchResult>(resultPath({ out, seed }, branch.name), studyIdentity(config, branch))
      if (result) branches.set(branch.name, result)
    }
    return [{ seed, start, branches }]
  })
  return { config, seeds }
}

/** A value of one branch in each seed that has it, in the order of the seeds. */
export function acrossSeeds({ seeds }: StudyResults, branch: string, measure: (result: BranchResult) => number): number[] {
  return seeds.flatMap(({ branches }) => {
    const result = branches.get(branch)
    return result ? [measure(result)] : []
  })
}

/** Mean over seeds with its 95 % interval by Student's distribution; no interval for one seed. */
export function overSeeds(values: readonly number[]): Estimate {
  return clusterEstimate(values.map((value) => ({ sum: value, count: 1 })))
}

/** Retrieval in percent. @throws TypeError where it was not measured */
export function retrievalOf(evaluation: ModelEvaluation, budget: Budget): number {
  return lineOf(evaluation.retrieval, budget).overall.accuracy
}

/** Perplexity and attention-mass recall on text. @throws TypeError where they were not measured */
export function selectionLine(evaluation: ModelEvaluation, budget: Budget): EvaluationRow {
  return lineOf(evaluation.selections, budget)
}

/** The budget that a branch was trained for: its own policy at a topK; dense for the dense one. */
export function ownBudget({ branch }: BranchResult, topK: number): Budget {
  return branch.policy === 'dense' ? DENSE : { policy: branch.policy, topK }
}

function lineOf<T extends Budget>(rows: readonly T[], { policy, topK }: Budget): T {
  const row = rows.find((one) => one.policy === policy && one.topK === topK)
  if (!row) throw new TypeError(`the result has no line for ${policy} at topK ${topK}; measure it again with the study's configuration.`)
  return row
}
