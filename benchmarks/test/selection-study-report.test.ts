import { fileURLToPath } from 'node:url'
import type { Calibration, EvaluationRow, RetrievalRow } from '@phsa/trainer'
import { expect, test } from 'vitest'
import { CLAIMS, claimResults } from '../report/study-claims.js'
import { studyPlots } from '../report/study-plots.js'
import type { SeedResults, StudyResults } from '../report/study-results.js'
import {
  calibrationTable,
  claimsTable,
  controlTable,
  costTable,
  lambdaTable,
  perplexityTable,
  retrievalTable,
  settingsText,
} from '../report/study-tables.js'
import type { StartResult } from '../study/dense-start.js'
import type { ModelEvaluation } from '../study/evaluate-model.js'
import { type BranchConfig, readStudyConfig } from '../study/study-config.js'
import type { BranchResult } from '../study/train-branch.js'

const config = readStudyConfig(fileURLToPath(new URL('../../docs/runs/selection-study/config.json', import.meta.url)))
const branchOf = (name: string) => config.branches.find((branch) => branch.name === name)!

/** Retrieval at topK 2 of each policy; half of it at 1, the same everywhere else. */
function evaluation(dense: number, found: Record<string, number>, lambda = 0.5): ModelEvaluation {
  const budgets = Object.entries(found).flatMap(([policy, accuracy]) =>
    config.evaluation.topKs.map((topK) => ({ policy, topK, accuracy: topK === 1 ? accuracy / 2 : accuracy })),
  )
  const lines = [{ policy: 'dense', topK: 'dense' as const, accuracy: dense }, ...budgets]
  const calibration = {
    lambda: Array.from({ length: config.model.layers }, () => [lambda, lambda]),
    verdict: 'hurts',
    heldOut: { before: 0.5, one: 0.625, calibrated: 0.65, oracle: 0.75 },
  } as unknown as Calibration
  return {
    retrieval: lines.map(({ policy, topK, accuracy }) => ({ policy, topK, overall: { accuracy } }) as RetrievalRow),
    selections: lines.map(
      ({ policy, topK }) => ({ policy, topK, perplexity: policy === 'dense' ? 20 : 22, recall: 0.5 }) as unknown as EvaluationRow,
    ),
    calibration,
  }
}

function branchResult(name: string, measured: ModelEvaluation, mean = 20): BranchResult {
  const branch: BranchConfig = branchOf(name)
  return {
    branch,
    milliseconds: { mean },
    phsa: { lambda: branch.calibratedLambda ? measured.calibration.lambda : 0.5 },
    ...measured,
  } as BranchResult
}

/** @param gain what distillation adds */
function seedResults(seed: number, plain: number, gain: number): SeedResults {
  const start = {
    ...evaluation(80, { phsa: 1, 'mean-pool': 2 }),
    probes: [{ step: 200, accuracy: 0 }],
    parameters: 21.6e6,
    device: 'a GPU',
    texts: [],
  }
  const dense = branchResult('dense', evaluation(90, { phsa: 5, 'mean-pool': 40, 'infllm-v2': 5 + seed }))
  const results = [
    dense,
    branchResult('phsa', evaluation(70, { phsa: plain, 'mean-pool': 9 }), 20),
    branchResult('phsa-distilled', evaluation(88, { phsa: plain + gain, 'mean-pool': 60 }), 30),
    branchResult('phsa-calibrated-lambda', evaluation(88, { phsa: 85, 'mean-pool': 60 }, 0.75), 24),
  ]
  return { seed, start: start as unknown as StartResult, branches: new Map(results.map((result) => [result.branch.name, result])) }
}

const study: StudyResults = { config, seeds: [seedResults(0, 4, 40), seedResults(1, 6, 42), seedResults(2, 8, 44)] }
const lineOf = (table: string, start: string) => table.split('\n').find((line) => line.startsWith(`| ${start} |`))

test('cells are the mean and each seed, in the order of the seeds', () => {
  const table = retrievalTable(study)
  expect(lineOf(table, 'phsa')).toBe(
    '| phsa | **3.0** (2.0 / 3.0 / 4.0) | **6.0** (4.0 / 6.0 / 8.0) | **6.0** (4.0 / 6.0 / 8.0) | **6.0** (4.0 / 6.0 / 8.0) | **6.0** (4.0 / 6.0 / 8.0) | **70.0** (70.0 / 70.0 / 70.0) |',
  )
  expect(lineOf(table, 'dense, read with infllm-v2')).toContain('**6.0** (5.0 / 6.0 / 7.0)')
  expect(table).not.toContain('mean-pool-distilled')
  expect(lineOf(perplexityTable(study), 'phsa')).toContain('**22.00**')
  expect(lineOf(controlTable(study), 'phsa-distilled')).toBe(
    '| phsa-distilled | **48.0** (44.0 / 48.0 / 52.0) | **60.0** (60.0 / 60.0 / 60.0) | **-12.0** (-16.0 / -12.0 / -8.0) |',
  )
})

test('a claim is judged by the interval over seeds, on the side that the prototype found', () => {
  const found = new Map(claimResults(study).map((result) => [result.claim.text, result]))
  expect(found.get('PHSA: distilled over not')).toMatchObject({ differences: [40, 42, 44], verdict: 'replicates' })
  // 42 +- 4.3027 x 2 / sqrt(3)
  const [low, high] = found.get('PHSA: distilled over not')!.estimate.interval!
  expect([low, high].map((value) => value.toFixed(2))).toEqual(['37.03', '46.97'])
  expect(found.get('PHSA: trained sparsely over dense-trained')).toMatchObject({ differences: [-1, 1, 3], verdict: 'open' })
  expect(found.get('PHSA distilled: calibrated lambda over 0.5')?.verdict).toBe('above')
  expect(found.get('PHSA, not distilled, over dense')).toMatchObject({ differences: [2, 2, 2], verdict: 'above' })
  expect(found.get('PHSA distilled over dense')?.verdict).toBe('contradicts')
  expect(found.has('distilled: mean-pool over PHSA')).toBe(false)
  expect(claimsTable(study)).toContain(
    '| PHSA: distilled over not (retrieval) | +42.0 / +11.0 | +40.0 / +42.0 / +44.0 | +42.0 (+37.0 to +47.0) | replicates |',
  )
})

test('one seed has no interval, and nothing is decided by it', () => {
  const [result] = claimResults({ config, seeds: study.seeds.slice(0, 1) }, CLAIMS.slice(6, 7))
  expect(result).toMatchObject({ estimate: { mean: expect.any(Number) }, verdict: 'open' })
})

test('a branch is good enough where it finds 90 % of dense for 1.2 times the step, in every seed', () => {
  const table = costTable(study)
  expect(lineOf(table, 'phsa-calibrated-lambda')).toContain('**1.20** (1.20 / 1.20 / 1.20) | **94** (94 / 94 / 94) | yes |')
  expect(lineOf(table, 'phsa-distilled')).toContain('| no |')
})

test('calibration stands beside what was found, and lambdas by layer', () => {
  const table = calibrationTable(study)
  expect(table).toContain('| 0 | start | 50.0 | 62.5 | 65.0 | 75.0 | hurts | 1.0 | 2.0 | yes |')
  expect(table).toContain('| 2 | phsa-distilled | 50.0 | 62.5 | 65.0 | 75.0 | hurts | 52.0 | 60.0 | yes |')
  expect(table).toContain('| 2 | phsa-calibrated-lambda | 50.0 | 62.5 | 65.0 | 75.0 | hurts | 85.0 | 60.0 | no |')
  expect(lambdaTable(study)).toContain('| 1 | phsa-calibrated-lambda | 0.75 0.75 |')
})

test('the settings are those of the configuration', () => {
  const text = settingsText(study)
  expect(text).toContain('21.6 million parameters')
  expect(text).toContain('600 questions')
})

test('plots show what is there', () => {
  const plots = studyPlots(study)
  expect([...plots.keys()]).toEqual(['retrieval-by-selector.svg', 'retrieval-of-variants.svg', 'emergence.svg', 'cost.svg'])
  expect(plots.get('retrieval-of-variants.svg')).toContain('phsa-calibrated-lambda')
  expect(plots.get('retrieval-of-variants.svg')).not.toContain('mean-pool')
  for (const svg of plots.values()) expect(svg).toMatch(/^<svg [\s\S]*<\/svg>\n$/)
  expect(studyPlots({ config, seeds: [] }).size).toBe(0)
})

test('claims are about branches that the study has', () => {
  const names = config.branches.map(({ name }) => name)
  for (const { left, right } of CLAIMS) expect(names).toEqual(expect.arrayContaining([left.branch, right.branch]))
})
