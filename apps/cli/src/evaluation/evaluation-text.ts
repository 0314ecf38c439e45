import type { Estimate, EvaluationRow, PositionRow, RetrievalRow } from '@phsa/trainer'
import { formatPercent } from '../terminal/format.js'
import { formatTable } from '../terminal/table.js'
import type { EvalReport, ScoredChoices } from './eval-report.js'
import { variantName } from './follow-evaluation.js'

/** What is shown in the terminal; `heads` adds the recall of every head. */
export type EvaluationText = Pick<EvalReport, 'windows' | 'tokens' | 'selections' | 'positions' | 'retrieval' | 'choices'> & {
  readonly heads?: boolean
}

/** The measured tables for the terminal, one below the other. */
export function evaluationText({ windows, tokens, selections, positions, retrieval, choices, heads }: EvaluationText): string {
  const compared = selections.length > 0 ? [`${windows} windows of ${tokens} tokens`, selectionTable(selections)] : []
  return [
    ...compared,
    ...(heads ? selections.slice(1).map(headTable) : []),
    ...(positions
      ? [
          'perplexity by position of the token that predicts; in brackets the loss over dense with its 95 % interval',
          positionTable(positions),
        ]
      : []),
    ...(retrieval ? ['needles found, of all and by length and depth', retrievalTable(retrieval)] : []),
    ...(choices ?? []).flatMap((file) => [choiceHeading(file), choiceTable(file)]),
  ].join('\n\n')
}

function selectionTable(selections: readonly EvaluationRow[]): string {
  return formatTable(
    ['', 'perplexity', 'mass recall', 'block recall', 'activated', 'sparsity'],
    selections.map(({ perplexity, recall, selectionRecall, activatedTokens, sparsity, ...variant }) => [
      variantName(variant),
      perplexity.toFixed(3),
      formatPercent(recall),
      selectionRecall === undefined ? '' : formatPercent(selectionRecall),
      String(activatedTokens),
      formatPercent(sparsity),
    ]),
  )
}

function headTable(row: EvaluationRow): string {
  const table = formatTable(
    ['layer', ...row.recallByHead[0].map((_, head) => `head ${head}`)],
    row.recallByHead.map((heads, layer) => [String(layer), ...heads.map(formatPercent)]),
  )
  return `mass recall of ${variantName(row)} by layer and KV head, ${row.queries} queries each\n\n${table}`
}

function positionTable(rows: readonly PositionRow[]): string {
  const { buckets } = rows[0]
  return formatTable(
    ['positions', 'tokens', ...rows.map(variantName)],
    buckets.map(({ from, to, tokens }, index) => [`${from}..${to - 1}`, String(tokens), ...rows.map((row) => positionCell(row, index))]),
  )
}

/** Perplexity, and in brackets the loss over dense. */
export function positionCell({ buckets }: PositionRow, index: number): string {
  const { perplexity, overDense } = buckets[index]
  if (!overDense) return perplexity.toFixed(3)
  const [low, high] = overDense.interval ?? []
  const interval = low === undefined || high === undefined ? '' : `, ${low.toFixed(3)}..${high.toFixed(3)}`
  return `${perplexity.toFixed(3)} (${overDense.mean.toFixed(3)}${interval})`
}

function retrievalTable(rows: readonly RetrievalRow[]): string {
  const cells = rows[0]?.cells ?? []
  return formatTable(
    ['', 'all', '95 % interval', ...cells.map(({ length, depth }) => `${length} @ ${depth}`)],
    rows.map(({ overall, cells, ...variant }) => [
      variantName(variant),
      `${overall.accuracy.toFixed(0)} %`,
      `${overall.interval[0].toFixed(0)}..${overall.interval[1].toFixed(0)}`,
      ...cells.map(({ accuracy }) => `${accuracy.toFixed(0)} %`),
    ]),
  )
}

/** What was scored, and what was left out. */
export function choiceHeading({ file, records, requests, sequences, faults }: ScoredChoices): string {
  const others = faults.length > 1 ? ` and ${faults.length - 1} more` : ''
  const left = faults.length > 0 ? `; left out: line ${faults[0].line}${others}` : ''
  return `${file}: ${records} records, ${requests} choices in ${sequences} sequences${left}`
}

function choiceTable({ rows }: ScoredChoices): string {
  return formatTable(CHOICE_HEADER, choiceRows(rows))
}

/** A difference of shares in points: "+1.2 (-0.3..2.7)". */
function pointsText({ mean, interval }: Estimate): string {
  const points = (share: number) => (100 * share).toFixed(1)
  return `${mean > 0 ? '+' : ''}${points(mean)}${interval ? ` (${interval.map(points).join('..')})` : ''}`
}

export const CHOICE_HEADER = ['', 'acc', '+-', 'points over dense', 'acc_norm', '+-', 'points over dense', 'sequences past A'] as const

/** Accuracies with their standard errors, and in points what they are above dense with its 95 % interval, as text cells. */
export function choiceRows(rows: ScoredChoices['rows']): string[][] {
  return rows.map((row) => [
    variantName(row),
    ...(['acc', 'accNorm'] as const).flatMap((measure) => [
      formatPercent(row[measure].accuracy),
      formatPercent(row[measure].standardError),
      row.overDense ? pointsText(row.overDense[measure]) : '',
    ]),
    row.sparseSequences === undefined ? '' : String(row.sparseSequences),
  ])
}
