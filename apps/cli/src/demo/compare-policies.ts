import type { PunctuationTable } from '@phsa/core'
import { type DecoderModel, nextTokenBatch } from '@phsa/model'
import { type EvaluationRow, evaluateSelections } from '@phsa/trainer'
import { followSelections } from '../evaluation/follow-evaluation.js'
import type { Interruption } from '../interruption.js'
import type { ComparisonRow } from '../report/demo-results.js'
import { DEMO_BUDGETS, DEMO_POLICIES } from './demo-recipe.js'

export interface Comparison {
  readonly densePerplexity: number
  readonly rows: readonly ComparisonRow[]
}

/** Measures every policy at every budget on passages that training has not seen, behind a progress bar. */
export async function comparePolicies(
  model: DecoderModel,
  passages: readonly Int32Array[],
  punctuation: PunctuationTable,
  interruption: Interruption,
): Promise<Comparison> {
  const batches = passages.map((passage) => nextTokenBatch([passage], punctuation))
  const evaluation = evaluateSelections({ model, batches, policies: DEMO_POLICIES, topKs: DEMO_BUDGETS, signal: interruption.signal })
  return split(await followSelections('comparing', evaluation))
}

function split(table: readonly EvaluationRow[]): Comparison {
  const rows = table.flatMap(({ policy, topK, recall, perplexity }) => (topK === 'dense' ? [] : [{ policy, topK, recall, perplexity }]))
  const dense = table.find(({ topK }) => topK === 'dense')
  if (!dense) throw new Error('evaluateSelections gave no dense row')
  return { densePerplexity: dense.perplexity, rows }
}
