import type { EvaluationRow, RetrievalRow } from '@phsa/trainer'
import { formatPercent } from '../terminal/format.js'
import { formatTable } from '../terminal/table.js'
import { variantName } from './follow-evaluation.js'

/** The measured table for the terminal; under it, where it was measured, how often needles were found. */
export function evaluationText({
  windows,
  tokens,
  selections,
  retrieval,
}: {
  readonly windows: number
  readonly tokens: number
  readonly selections: readonly EvaluationRow[]
  readonly retrieval?: readonly RetrievalRow[]
}): string {
  const measured = formatTable(
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
  const parts = [`${windows} windows of ${tokens} tokens`, measured]
  return [...parts, ...(retrieval ? ['needles found, of all and by length and depth', retrievalTable(retrieval)] : [])].join('\n\n')
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
