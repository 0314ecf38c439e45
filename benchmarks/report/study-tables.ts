import type { Estimate } from '../../packages/trainer/src/evaluation/cluster-estimate.js'
import type { ModelEvaluation } from '../study/evaluate-model.js'
import type { BranchResult } from '../study/train-branch.js'
import { claimResults } from './study-claims.js'
import { acrossSeeds, DENSE, overSeeds, ownBudget, retrievalOf, type StudyResults, selectionLine } from './study-results.js'
import { count, markdown } from './table-text.js'

/** Budget that branches are trained for and compared at. */
const TOP_K = 2
/** Selectors that the dense model is measured with. */
const SELECTORS = ['phsa', 'mean-pool', 'infllm-v2'] as const

/** Model, data and length, from the configuration and the results. */
export function settingsText({ config, seeds }: StudyResults): string {
  const { model, batch, steps, denseSteps, evaluation, phsa, needles } = config
  const [first] = seeds
  const { lengths, depths, trials } = evaluation.retrieval
  const lines = [
    `**Model**: ${first ? `${(first.start.parameters / 1e6).toFixed(1)} million parameters: ` : ''}width ${model.hiddenSize}, ${model.layers} layers, ${model.heads} query and ${model.kvHeads} KV heads of ${model.headDim}, ${count(model.vocabSize)} tokens of vocabulary, ${config.dtype}.`,
    `**Training**: ${count(steps)} steps of ${batch.sequences} x ${count(batch.tokens)} tokens (${((steps * batch.sequences * batch.tokens) / 1e6).toFixed(1)} million), of which a seed's branches share the first ${count(denseSteps)}, dense.`,
    `**PHSA**: blocks of ${phsa.blockSize}, ${phsa.initTokens} first and ${phsa.localTokens} last tokens always visible, topK ${phsa.topK}.`,
    `**Needles**: ${needles.needles?.least} to ${needles.needles?.most} facts in ${(100 * (needles.share ?? 0)).toFixed(0)} % of the rows, answers weighted x${needles.answerWeight}.`,
    `**Evaluation**: ${count(lengths.length * depths.length * trials)} questions (lengths ${lengths.map(count).join(', ')}; depths ${depths.join(', ')}; ${trials} each), the same ones for every model and selector; ${evaluation.windows} windows of ${count(batch.tokens)} held-out tokens for perplexity and recall.`,
  ]
  if (first) lines.push(`**Text** (SHA-256): ${first.start.texts.map(({ name, sha256 }) => `\`${name}\` \`${sha256}\``).join(', ')}.`)
  if (first) lines.push(`**Measured on**: ${[...new Set(seeds.map(({ start }) => start.device))].join('; ')}.`)
  return lines.map((line) => `- ${line}`).join('\n')
}

/** Retrieval in percent by topK, each model with its own selector; mean, and the seeds in their order. */
export function retrievalTable(study: StudyResults): string {
  return byTopK(study, (result, policy, topK) => retrievalOf(result, topK === 'dense' ? DENSE : { policy, topK }), 1)
}

/** Perplexity by topK, likewise. */
export function perplexityTable(study: StudyResults): string {
  return byTopK(study, (result, policy, topK) => selectionLine(result, topK === 'dense' ? DENSE : { policy, topK }).perplexity, 2)
}

/** Attention-mass recall in percent by topK, likewise. */
export function recallTable(study: StudyResults): string {
  return byTopK(study, (result, policy, topK) => 100 * selectionLine(result, topK === 'dense' ? DENSE : { policy, topK }).recall, 1)
}

/** The same with mean-pool in place of PHSA, for models that were trained with PHSA: lambda 1 as the control. */
export function controlTable(study: StudyResults): string {
  const names = study.config.branches.filter(({ policy }) => policy === 'phsa').map(({ name }) => name)
  const rows = names.flatMap((name) => {
    const own = acrossSeeds(study, name, (result) => retrievalOf(result, { policy: 'phsa', topK: TOP_K }))
    const control = acrossSeeds(study, name, (result) => retrievalOf(result, { policy: 'mean-pool', topK: TOP_K }))
    return own.length === 0
      ? []
      : [
          [
            name,
            cell(own, 1),
            cell(control, 1),
            cell(
              own.map((value, index) => value - control[index]),
              1,
            ),
          ],
        ]
  })
  return markdown(['trained as', 'PHSA', 'lambda 1', 'difference'], rows)
}

/** What a step takes, and what it finds for it: share of dense retrieval at topK 2, cost over plain PHSA, and whether both are good enough to recommend. */
export function costTable(study: StudyResults): string {
  const rows = study.config.branches.flatMap(({ name }) => {
    const pairs = study.seeds.flatMap(({ branches }) => {
      const [result, plain, dense] = [branches.get(name), branches.get('phsa'), branches.get('dense')]
      return result && plain && dense ? [{ result, plain, dense }] : []
    })
    if (pairs.length === 0) return []
    const milliseconds = pairs.map(({ result }) => result.milliseconds.mean)
    const cost = pairs.map(({ result, plain }) => result.milliseconds.mean / plain.milliseconds.mean)
    const share = pairs.map(({ result, dense }) => (100 * retrievalOf(result, ownBudget(result, TOP_K))) / retrievalOf(dense, DENSE))
    const isEnough = pairs.every((_, index) => share[index] >= 90 && cost[index] <= 1.2)
    return [[name, cell(milliseconds, 1), cell(cost, 2), cell(share, 0), name === 'dense' ? '' : isEnough ? 'yes' : 'no']]
  })
  return markdown(['branch', 'ms a step', 'over plain PHSA', '% of dense retrieval', '90 % for 1.2x in every seed'], rows)
}

/** What the prototype said, and what this study adds: differences of the left side over the right one. */
export function claimsTable(study: StudyResults): string {
  const rows = claimResults(study).map(({ claim, differences, estimate, verdict }) => {
    const digits = claim.measure === 'retrieval' ? 1 : 2
    const prototype = claim.prototype?.map((value) => signed(value, digits)).join(' / ') ?? ''
    return [
      `${claim.text} (${claim.measure})`,
      prototype,
      differences.map((value) => signed(value, digits)).join(' / '),
      range(estimate, digits),
      verdict,
    ]
  })
  return markdown(['difference', 'prototype', 'here, by seed', 'mean and 95 % interval', 'verdict'], rows)
}

/**
 * What `phsa calibrate` said of each dense start and each model that was trained densely or with PHSA, beside what retrieval showed. `agree`: whether the lambda
 * that sees more of the attention, the model's own or 1, is also the one that finds more.
 */
export function calibrationTable(study: StudyResults): string {
  const line = (seed: number, name: string, evaluation: ModelEvaluation) => {
    const { verdict, heldOut } = evaluation.calibration
    const own = retrievalOf(evaluation, { policy: 'phsa', topK: TOP_K })
    const one = retrievalOf(evaluation, { policy: 'mean-pool', topK: TOP_K })
    const recalls = [heldOut.before, heldOut.one, heldOut.calibrated, heldOut.oracle].map((recall) => (100 * recall).toFixed(1))
    const isAgreed = Math.sign(heldOut.before - heldOut.one) === Math.sign(own - one)
    return [String(seed), name, ...recalls, verdict, own.toFixed(1), one.toFixed(1), isAgreed ? 'yes' : 'no']
  }
  const rows = study.seeds.flatMap(({ seed, start, branches }) => {
    const measured = [...branches].filter(([, { branch }]) => ['phsa', 'dense'].includes(branch.policy))
    return [line(seed, 'start', start), ...measured.map(([name, result]) => line(seed, name, result))]
  })
  const recall = ['recall %: own lambda', 'lambda 1', 'calibrated', 'best blocks']
  return markdown(['seed', 'model', ...recall, 'punctuation', 'retrieval %: own lambda', 'lambda 1', 'agree'], rows)
}

/** Lambda of each layer and KV head that was learned, and that was calibrated on the dense start. */
export function lambdaTable(study: StudyResults): string {
  const rows = study.seeds.flatMap(({ seed, branches }) =>
    ['phsa-learned-lambda', 'phsa-calibrated-lambda', 'phsa-combined'].flatMap((name) => {
      const lambda = branches.get(name)?.phsa.lambda
      if (lambda === undefined || typeof lambda === 'number') return []
      return [[String(seed), name, ...lambda.map((heads) => heads.map((value) => value.toFixed(2)).join(' '))]]
    }),
  )
  return markdown(['seed', 'branch', ...Array.from({ length: study.config.model.layers }, (_, layer) => `layer ${layer}`)], rows)
}

function byTopK(
  study: StudyResults,
  measure: (result: BranchResult, policy: string, topK: number | 'dense') => number,
  digits: number,
): string {
  const { topKs } = study.config.evaluation
  const line = (label: string, branch: string, policy: string) => {
    const cells = [...topKs, 'dense' as const].map((topK) => acrossSeeds(study, branch, (result) => measure(result, policy, topK)))
    return cells[0].length === 0 ? [] : [[label, ...cells.map((values) => cell(values, digits))]]
  }
  const rows = study.config.branches.flatMap(({ name, policy }) =>
    policy === 'dense' ? SELECTORS.flatMap((selector) => line(`${name}, read with ${selector}`, name, selector)) : line(name, name, policy),
  )
  return markdown(['trained as', ...topKs.map((topK) => `topK ${topK}`), 'dense'], rows)
}

/** Mean over seeds, then each of them. */
function cell(values: readonly number[], digits: number): string {
  if (values.length === 0) return ''
  const mean = overSeeds(values).mean.toFixed(digits)
  return values.length === 1 ? mean : `**${mean}** (${values.map((value) => value.toFixed(digits)).join(' / ')})`
}

function range({ mean, interval }: Estimate, digits: number): string {
  if (!interval) return signed(mean, digits)
  return `${signed(mean, digits)} (${signed(interval[0], digits)} to ${signed(interval[1], digits)})`
}

function signed(value: number, digits: number): string {
  const text = value.toFixed(digits)
  return value > 0 ? `+${text}` : text
}
