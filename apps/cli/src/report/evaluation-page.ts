import type { EvaluationRow, PositionRow, RetrievalRow } from '@phsa/trainer'
import type { EvalReport } from '../evaluation/eval-report.js'
import { CHOICE_HEADER, choiceHeading, choiceRows, positionCell } from '../evaluation/evaluation-text.js'
import { variantName } from '../evaluation/follow-evaluation.js'
import { formatCount, formatPercent } from '../terminal/format.js'
import { type HeatMap, heatFigure } from './heat-map.js'
import { figure, htmlPage, htmlTable, legend } from './html-page.js'
import { lambdaText } from './lambda-text.js'
import { policyColor } from './palette.js'
import { positionChart } from './position-chart.js'
import { escapeMarkup } from './svg-document.js'

/** The page of `phsa eval --html FILE`: every table, and what is a matter of place as a heat map or a line. */
export function evaluationPage(report: EvalReport): string {
  const { model, backend, device, phsa, createdAt, selections, positions, retrieval, choices } = report
  return htmlPage(
    `PHSA: ${model}`,
    [
      `<h1>Evaluation of ${escapeMarkup(model)}</h1>`,
      `<p class="muted">Backend ${escapeMarkup(backend)} (${escapeMarkup(device)}); blocks of ${phsa.blockSize}, ${phsa.initTokens} initial and ${phsa.localTokens} local tokens, lambda ${escapeMarkup(lambdaText(phsa.lambda))}; seed ${report.seed}; ${escapeMarkup(createdAt)}.</p>`,
      ...(selections.length > 0 ? [selectionSection(report)] : []),
      ...(positions ? [positionSection(positions)] : []),
      ...(retrieval ? [retrievalSection(retrieval)] : []),
      ...(choices ?? []).map(
        (file) =>
          `<h2>Multiple choice</h2>\n<p>${escapeMarkup(choiceHeading(file))}.</p>\n${htmlTable(CHOICE_HEADER, choiceRows(file.rows))}`,
      ),
    ].join('\n'),
  )
}

function selectionSection({ selections, windows, tokens }: EvalReport): string {
  const table = htmlTable(
    ['', 'perplexity', 'mass recall', 'block recall', 'tokens a query sees', 'sparsity'],
    selections.map((row) => [
      variantName(row),
      row.perplexity.toFixed(3),
      formatPercent(row.recall),
      row.selectionRecall === undefined ? '' : formatPercent(row.selectionRecall),
      formatCount(row.activatedTokens),
      formatPercent(row.sparsity),
    ]),
  )
  return `<h2>Policies and budgets</h2>
<p>${windows} windows of ${formatCount(tokens)} tokens; all lines count the same positions.</p>
${table}
<h2>Recall by layer and head</h2>
<p>Share of the dense attention probability that falls on visible keys, ${selections[0].queries} sampled queries a cell. Shades run from the lowest to the highest of all maps here.</p>
<div class="figures">${recallMaps(selections.slice(1)).map(heatFigure).join('\n')}</div>`
}

/** Attention-mass recall by layer and KV head, a map a policy and budget, all in the same shades. */
export function recallMaps(rows: readonly EvaluationRow[]): HeatMap[] {
  const all = rows.flatMap(({ recallByHead }) => recallByHead.flat())
  const [least, most] = [Math.min(...all), Math.max(...all)]
  return rows.map((row) => ({
    title: `Attention-mass recall, ${variantName(row)}`,
    rowAxis: 'layer',
    columnAxis: 'KV head',
    rows: row.recallByHead.map((_, layer) => String(layer)),
    columns: row.recallByHead[0].map((_, head) => String(head)),
    cells: row.recallByHead.map((heads) =>
      heads.map((recall) => ({ shade: most > least ? (recall - least) / (most - least) : 1, text: formatPercent(recall) })),
    ),
  }))
}

function retrievalSection(rows: readonly RetrievalRow[]): string {
  return `<h2>Needle in a haystack</h2>
<p>How often a hidden fact is given back, by depth of the needle and length of the prompt; ${rows[0].cells[0].trials} prompts a cell. The tables have the 95 % intervals.</p>
<div class="figures">${rows.map((row) => heatFigure(retrievalMap(row))).join('\n')}</div>`
}

/** Retrieval accuracy, depths down and lengths across. */
export function retrievalMap({ cells, overall, ...variant }: RetrievalRow): HeatMap {
  const lengths = [...new Set(cells.map(({ length }) => length))]
  const depths = [...new Set(cells.map(({ depth }) => depth))]
  return {
    title: `Needles found, ${variantName(variant)}: ${overall.accuracy.toFixed(0)} % of ${overall.trials} (${intervalText(overall.interval)})`,
    rowAxis: 'depth',
    columnAxis: 'tokens',
    rows: depths.map(String),
    columns: lengths.map(formatCount),
    cells: depths.map((depth) =>
      lengths.map((length) => {
        const cell = cells.find((one) => one.depth === depth && one.length === length)
        if (!cell) return null
        const text = `${cell.accuracy.toFixed(0)} %`
        return { shade: cell.accuracy / 100, text, detail: `${text} (${intervalText(cell.interval)})` }
      }),
    ),
  }
}

function intervalText([low, high]: readonly [number, number]): string {
  return `${low.toFixed(0)} to ${high.toFixed(0)}`
}

function positionSection(rows: readonly PositionRow[]): string {
  const policies = [...new Set(rows.slice(1).map(({ policy }) => policy))]
  const chart =
    rows.length > 1
      ? `${legend(policies.map((policy) => ({ label: policy, fill: policyColor(policy), shape: 'dash' })))}
<div class="figures">${figure(positionChart(rows), 'Loss of each token less that of dense attention on the same token; bars are 95 % intervals between windows. Above zero: worse than dense.', 'Loss over dense')}</div>`
      : ''
  const table = htmlTable(
    ['positions', 'tokens', ...rows.map(variantName)],
    rows[0].buckets.map(({ from, to, tokens }, index) => [
      `${from}–${to - 1}`,
      formatCount(tokens),
      ...rows.map((row) => positionCell(row, index)),
    ]),
  )
  return `<h2>Perplexity by position</h2>
<p>By the position of the token that predicts; in brackets the loss over dense in nats a token, with its 95 % interval.</p>
${chart}
${table}`
}
