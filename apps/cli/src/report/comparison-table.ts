import { formatPercent } from '../terminal/format.js'
import type { ComparisonRow } from './demo-results.js'

/** The comparison as text cells, a row a policy and budget, for the terminal and the report. */
export function comparisonTable(rows: readonly ComparisonRow[], densePerplexity: number): { header: string[]; rows: string[][] } {
  const policies = [...new Set(rows.map((row) => row.policy))]
  const budgets = [...new Set(rows.map((row) => row.topK))].sort((left, right) => left - right)
  const find = (policy: string, topK: number) => rows.find((row) => row.policy === policy && row.topK === topK)
  const line = (topK: number) => [
    `topK ${topK}`,
    ...policies.map((policy) => formatPercent(find(policy, topK)?.recall ?? Number.NaN)),
    ...policies.map((policy) => (find(policy, topK)?.perplexity ?? Number.NaN).toFixed(2)),
  ]
  return {
    header: ['', ...policies.map((policy) => `recall ${policy}`), ...policies.map((policy) => `ppl ${policy}`)],
    rows: [...budgets.map(line), ['dense', ...policies.map(() => '100.0 %'), ...policies.map(() => densePerplexity.toFixed(2))]],
  }
}

/** What the numbers say, whichever way they fall: PHSA against its own control, lambda = 1. */
export function comparisonVerdict(rows: readonly ComparisonRow[], lambda: string): string {
  const pairs = rows
    .filter((row) => row.policy === 'phsa')
    .flatMap((phsa) => {
      const control = rows.find((row) => row.policy === 'mean-pool' && row.topK === phsa.topK)
      return control ? [{ topK: phsa.topK, recall: phsa.recall - control.recall, perplexity: phsa.perplexity - control.perplexity }] : []
    })
  const better = pairs.filter((pair) => pair.recall > 0)
  const signed = (value: number, digits: number) => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(digits)}`
  const list = pairs
    .map((pair) => `topK ${pair.topK}: ${signed(pair.recall * 100, 2)} points of recall, ${signed(pair.perplexity, 3)} perplexity`)
    .join('; ')
  return `PHSA with lambda ${lambda} sees more attention mass than mean-pool (lambda 1, the control) at ${better.length} of ${pairs.length} budgets. PHSA minus mean-pool: ${list}.`
}

/** What may not be concluded from a model of this size. */
export const SMALL_MODEL_CAVEAT =
  'One run of a model this small, trained for minutes, says nothing for or against the paper: its gains are reported for pretrained models hundreds of times larger. ' +
  'Models of this size put hardly more of their far attention on punctuation than its share of the tokens, so leaning on punctuation can hide the keys that matter, and mean-pool may well come out ahead. ' +
  'Another seed can move these numbers by more than the differences between policies.'
