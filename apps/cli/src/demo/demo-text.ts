import { formatCount, formatPercent, formatSeconds } from '../terminal/format.js'
import { formatTable } from '../terminal/table.js'
import type { DemoResults, DemoRow } from './demo-results.js'

/** What may be concluded from a model of this size, and what not. */
export const DEMO_CAVEAT =
  'Perplexity: as unsure of the next token as among so many equally likely ones; lower is better. The last 40 % of the training of this model were sparse, and it makes little of distant text: ' +
  'sparse attention is what it is used to, so where dense attention predicts worse, that says nothing against dense attention. PHSA and mean-pool, its control with lambda 1, are too close to tell apart with one model and one text. ' +
  'The paper’s claims are for pretrained models hundreds of times larger; this one writes words, not sense.'

/** What `phsa demo` found, for the terminal. */
export function demoText({ document, rows, phsa, backend }: DemoResults): string {
  const { title, tokens, newTokens, promptEnd, continuation } = document
  const table = formatTable(
    ['', 'prompt', 'a new token', 'perplexity', 'a query sees', 'sparsity'],
    rows.map((row) => [
      rowName(row, phsa.topK),
      formatSeconds(row.promptSeconds),
      formatSeconds(row.tokenSeconds),
      row.perplexity.toFixed(2),
      formatCount(row.activatedTokens),
      formatPercent(row.sparsity),
    ]),
  )
  return [
    `${formatCount(tokens)} tokens of ${title}, which the model was not trained on; all but the last ${newTokens} are the prompt. On ${backend}:`,
    table,
    DEMO_CAVEAT,
    `The prompt ends: …${promptEnd}`,
    `the novel    ${oneLine(continuation)}`,
    ...rows.map((row) => `${row.policy.padEnd(12)} ${oneLine(row.text)}`),
  ].join('\n\n')
}

/** "phsa topK 2"; dense has no budget. */
export function rowName({ policy }: Pick<DemoRow, 'policy'>, topK: number): string {
  return policy === 'dense' ? policy : `${policy} topK ${topK}`
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim()
}
