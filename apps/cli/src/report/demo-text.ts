import { formatTable } from '../terminal/table.js'
import { comparisonTable, comparisonVerdict, SMALL_MODEL_CAVEAT } from './comparison-table.js'
import type { DemoResults } from './demo-results.js'

/** What `phsa demo` found, for the terminal. */
export function demoText({ comparison, densePerplexity, evaluation, sample, phsa }: DemoResults): string {
  const { header, rows } = comparisonTable(comparison, densePerplexity)
  const lambda = typeof phsa.lambda === 'number' ? String(phsa.lambda) : 'of its own for each head'
  return [
    `On ${evaluation.sequences} passages of ${evaluation.sequenceTokens} tokens that training has not seen (ppl: perplexity):`,
    formatTable(header, rows),
    comparisonVerdict(comparison, lambda),
    SMALL_MODEL_CAVEAT,
    `Prompt: ${sample.prompt}`,
    `Sparse, topK ${sample.topK}: …${sample.sparse}`,
    `Dense: …${sample.dense}`,
  ].join('\n\n')
}
