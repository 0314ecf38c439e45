import { activatedTokens } from '@phsa/core'
import { formatCount, formatDuration, formatPercent } from '../terminal/format.js'
import { blockGrid } from './block-grid.js'
import { comparisonTable, comparisonVerdict, SMALL_MODEL_CAVEAT } from './comparison-table.js'
import type { DemoResults } from './demo-results.js'
import { figure, htmlPage, htmlTable, type LegendEntry, legend } from './html-page.js'
import { costChart, lossChart, perplexityChart, policySymbol, recallChart, recallDifferenceChart } from './line-charts.js'
import { color, policyColor } from './palette.js'
import { selectionChart } from './selection-chart.js'
import { escapeMarkup } from './svg-document.js'

/** The page that `phsa demo` leaves behind: one file, nothing to fetch. */
export function demoReport(results: DemoResults): string {
  return htmlPage(
    'PHSA demo',
    [
      summary(results),
      trainingSection(results),
      comparisonSection(results),
      selectionSection(results),
      sampleSection(results),
      costSection(results),
    ].join('\n'),
  )
}

function summary({ model, parameters, training, machine, seed, phsa, createdAt }: DemoResults): string {
  return `<h1>Punctuation-aware Hybrid Sparse Attention, end to end</h1>
<p>A decoder of ${(parameters / 1e6).toFixed(1)} million parameters (${model.layers} layers, ${model.heads} query and ${model.kvHeads} key/value heads of ${model.headDim}, vocabulary ${formatCount(model.vocabSize)}),
trained from scratch on <i>Pride and Prejudice</i> for ${training.steps} steps of ${formatCount(training.sequenceTokens)}-token sequences: ${formatDuration(training.seconds)} at ${formatCount(training.tokensPerSecond)} tokens/s.</p>
<p class="muted">Backend ${escapeMarkup(machine.backend)} (${escapeMarkup(machine.device)}), ${machine.cores} cores, Node ${escapeMarkup(machine.node)}; seed ${seed};
blocks of ${phsa.blockSize}, ${phsa.initTokens} initial and ${phsa.localTokens} local tokens, training topK ${phsa.topK}, lambda ${escapeMarkup(lambdaText(phsa.lambda))}; ${escapeMarkup(createdAt)}.</p>`
}

function trainingSection({ training, phsa }: DemoResults): string {
  const { points } = training
  const first = points[0]
  const last = points[points.length - 1]
  const sparse = points.filter((point) => point.sparse)
  const distilled = sparse.filter((point) => point.distillationLoss !== undefined)
  const distillation =
    distilled.length > 1
      ? ` The block distillation loss went from ${distilled[0].distillationLoss?.toFixed(3)} to ${distilled[distilled.length - 1].distillationLoss?.toFixed(3)}.`
      : ''
  return `<h2>Training</h2>
<div class="figures">${figure(
    lossChart(points),
    `Loss went from ${first.loss.toFixed(2)} to ${last.loss.toFixed(2)} nats a token. The first ${points.length - sparse.length} steps attend densely, the last ${sparse.length} sparsely at topK ${phsa.topK} with block distillation.${distillation} Thick: running mean.`,
    'Training loss',
  )}</div>`
}

function comparisonSection({ comparison, densePerplexity, evaluation, phsa }: DemoResults): string {
  const policies = [...new Set(comparison.map((row) => row.policy))]
  const entries: LegendEntry[] = policies.map((policy) => ({
    label: policy === 'mean-pool' ? 'mean-pool (lambda 1, control)' : policy,
    fill: policyColor(policy),
    shape: policySymbol(policy),
  }))
  const table = comparisonTable(comparison, densePerplexity)
  const past = activatedTokens({ ...phsa, topK: Math.max(...comparison.map(({ topK }) => topK)) })
  return `<h2>Selection policies at equal budgets</h2>
<p>Measured on ${evaluation.sequences} passages of ${formatCount(evaluation.sequenceTokens)} tokens from <i>Emma</i>, which training has not seen, at positions past ${past}, where every budget leaves something out. At the same topK all policies see the same number of tokens.</p>
${legend([...entries, { label: 'dense attention', fill: color.dense, shape: 'dash' }])}
<div class="figures">
${figure(recallChart(comparison), 'Share of the dense attention probability that falls on visible keys. Higher is better.', 'Attention-mass recall')}
${figure(recallDifferenceChart(comparison), 'The same, less the recall of mean-pool at each budget, in percentage points. Above zero: better than the control.', 'Recall against mean-pool')}
${figure(perplexityChart(comparison, densePerplexity), `Perplexity with each policy at inference; dense attention gives ${densePerplexity.toFixed(2)}. Lower is better.`, 'Perplexity')}
</div>
<p>${escapeMarkup(comparisonVerdict(comparison, lambdaText(phsa.lambda)))}</p>
<p class="note">${escapeMarkup(SMALL_MODEL_CAVEAT)}</p>
${htmlTable(table.header, table.rows)}`
}

function selectionSection({ passage }: DemoResults): string {
  const entries: LegendEntry[] = [
    { label: 'forced: first tokens and local window', fill: color.forced, shape: 'square' },
    ...passage.policies.map((map): LegendEntry => ({ label: `selected by ${map.policy}`, fill: policyColor(map.policy), shape: 'square' })),
    { label: 'not seen', fill: color.candidate, shape: 'square' },
    { label: 'punctuation', fill: color.mark, shape: 'tick' },
  ]
  const charts = passage.policies.map((map) =>
    figure(
      selectionChart(passage, map),
      `Each row is a query, each column a block of ${passage.blockSize} keys; ticks on the upper edge are punctuation tokens.`,
      map.policy,
    ),
  )
  return `<h2>What queries select in a passage</h2>
<p>A passage of <i>Emma</i> of ${passage.tokens.length} tokens at topK ${passage.topK}, ${escapeMarkup(passage.source ?? 'without a model')}.</p>
${legend(entries)}
<div class="figures">${charts.join('\n')}</div>
<p>The same passage token by token, and what its last query does with each block. Dense mass is the attention probability that the block would get if nothing were left out. The grid scrolls sideways.</p>
<div class="scroll">${blockGrid(passage)}</div>`
}

function sampleSection({ sample }: DemoResults): string {
  const quote = (continuation: string) => `<blockquote>${escapeMarkup(sample.prompt)}<b>${escapeMarkup(continuation)}</b></blockquote>`
  return `<h2>A continuation of an unseen prompt</h2>
<p>Sampled through the paged cache at temperature 0.8 from the 40 likeliest tokens, with the same draws for both; what the model wrote is in bold. A model this small writes words, not sense.</p>
<p class="muted">Sparse attention, topK ${sample.topK}</p>${quote(sample.sparse)}
<p class="muted">Dense attention</p>${quote(sample.dense)}`
}

function costSection({ costs }: DemoResults): string {
  const rows = costs.map(({ length, topK, activated, sparsity, flopShare }) => [
    formatCount(length),
    String(topK),
    formatCount(activated),
    formatPercent(sparsity),
    formatPercent(flopShare),
  ])
  return `<h2>What it costs at length</h2>
<p>Computed, not measured: the paper’s parameters for 4k and 32k contexts, counted exactly over all positions of a causal prefill. Scoring all blocks is part of the FLOPs and keeps the cost quadratic, with a sixteenth of the keys.</p>
<div class="figures">${figure(costChart(costs), 'Scoring and attention of a causal prefill together, as a share of dense causal attention.', 'FLOPs that remain')}</div>
${htmlTable(['context, tokens', 'topK', 'tokens a query sees', 'sparsity', 'FLOPs of dense attention'], rows)}`
}

/** Lambda in words: a number, or that it differs by head. */
export function lambdaText(lambda: DemoResults['phsa']['lambda']): string {
  return typeof lambda === 'number' ? String(lambda) : 'of its own for each head'
}
