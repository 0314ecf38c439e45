import * as Plot from '@observablehq/plot'
import type { ComparisonRow, CostRow, LossPoint } from './demo-results.js'
import { color, policyColor } from './palette.js'
import { markupOf, svgDocument } from './svg-document.js'

/** Size and margins of all charts over a number. */
export const CHART_FRAME = { width: 460, height: 290, marginLeft: 52, marginRight: 16, marginBottom: 42, marginTop: 26 } as const
/** Text of all charts. */
export const CHART_STYLE = { background: 'transparent', color: color.text, fontSize: '12px', fontFamily: 'inherit' } as const
const BUDGET_AXIS = { type: 'point', label: 'blocks selected a query (topK)', labelAnchor: 'center', labelArrow: 'none' } as const

/** Training loss by step, its running mean, and where attention turns sparse. */
export function lossChart(points: readonly LossPoint[]): string {
  const boundary = points.find((point) => point.sparse)?.step
  const smooth = runningMean(
    points.map((point) => point.loss),
    1 - 1 / Math.max(2, points.length / 40),
  ).map((loss, index) => ({ step: points[index].step, loss }))
  const last = points.at(-1)?.step ?? 1
  return markupOf(
    Plot.plot({
      ...CHART_FRAME,
      document: svgDocument(),
      style: CHART_STYLE,
      ariaLabel: 'Training loss by step',
      x: { label: 'training step', labelAnchor: 'center', labelArrow: 'none', ticks: 6, domain: [1, Math.max(last, 2)], tickFormat: 'd' },
      y: { label: 'loss (nats a token)', labelArrow: 'none', grid: true, ticks: 6, nice: true },
      marks: [
        ...(boundary === undefined
          ? []
          : [
              Plot.rect([boundary], { x1: boundary - 0.5, x2: last, fill: color.phsa, fillOpacity: 0.09 }),
              Plot.ruleX([boundary - 0.5], { stroke: color.phsa, strokeDasharray: '4 3' }),
              Plot.text([boundary], {
                x: boundary - 0.5,
                frameAnchor: 'top',
                text: () => 'sparse →',
                textAnchor: 'start',
                dx: 5,
                dy: 4,
                fill: color.phsa,
              }),
              Plot.text([boundary], {
                x: boundary - 0.5,
                frameAnchor: 'top',
                text: () => '← dense',
                textAnchor: 'end',
                dx: -5,
                dy: 4,
                fill: color.muted,
              }),
            ]),
        Plot.line(points, { x: 'step', y: 'loss', stroke: color.meanPool, strokeOpacity: 0.35 }),
        Plot.line(smooth, { x: 'step', y: 'loss', stroke: color.meanPool, strokeWidth: 2.5 }),
      ],
    }),
  )
}

/** Attention-mass recall by budget, a line a policy. */
export function recallChart(rows: readonly ComparisonRow[]): string {
  const least = Math.min(...rows.map((row) => row.recall))
  return budgetChart(rows, {
    value: (row) => row.recall * 100,
    label: 'attention mass seen (%)',
    domain: [Math.max(0, Math.floor(least * 20) * 5 - 5), 100],
    name: 'Attention-mass recall by number of selected blocks',
  })
}

/** Recall of the other policies less that of mean-pool, in percentage points: the differences are too small to see in `recallChart`. */
export function recallDifferenceChart(rows: readonly ComparisonRow[]): string {
  const control = (row: ComparisonRow) => rows.find(({ policy, topK }) => policy === 'mean-pool' && topK === row.topK)?.recall ?? Number.NaN
  const difference = (row: ComparisonRow) => (row.recall - control(row)) * 100
  const largest = Math.max(0.1, ...rows.map((row) => Math.abs(difference(row))))
  return budgetChart(rows, {
    value: difference,
    label: 'points of recall above mean-pool',
    domain: [-largest * 1.15, largest * 1.15],
    name: 'Attention-mass recall less that of mean-pool',
  })
}

/** Perplexity by budget, a line a policy, with dense attention as the level to compare with. */
export function perplexityChart(rows: readonly ComparisonRow[], densePerplexity: number): string {
  const all = [...rows.map((row) => row.perplexity), densePerplexity]
  const spread = Math.max(Math.max(...all) - Math.min(...all), densePerplexity * 0.005)
  return budgetChart(rows, {
    value: (row) => row.perplexity,
    label: 'perplexity on unseen text',
    domain: [Math.min(...all) - spread * 0.15, Math.max(...all) + spread * 0.15],
    name: 'Perplexity by number of selected blocks',
    level: densePerplexity,
  })
}

interface BudgetChart {
  readonly value: (row: ComparisonRow) => number
  readonly label: string
  readonly domain: readonly [number, number]
  readonly name: string
  /** Value of dense attention, drawn across. */
  readonly level?: number
}

function budgetChart(rows: readonly ComparisonRow[], { value, label, domain, name, level }: BudgetChart): string {
  const budgets = [...new Set(rows.map((row) => row.topK))].sort((left, right) => left - right)
  const stroke = (row: ComparisonRow) => policyColor(row.policy)
  return markupOf(
    Plot.plot({
      ...CHART_FRAME,
      document: svgDocument(),
      style: CHART_STYLE,
      ariaLabel: name,
      x: { ...BUDGET_AXIS, domain: budgets },
      y: { label, labelArrow: 'none', grid: true, ticks: 6, domain: [...domain] },
      color: { type: 'identity' },
      marks: [
        ...(level === undefined ? [] : [Plot.ruleY([level], { stroke: color.dense, strokeWidth: 2, strokeDasharray: '6 4' })]),
        Plot.line(rows, { x: 'topK', y: value, z: 'policy', stroke, strokeWidth: 2 }),
        Plot.dot(rows, { x: 'topK', y: value, symbol: (row: ComparisonRow) => policySymbol(row.policy), fill: stroke, r: 4 }),
      ],
      symbol: { type: 'identity' },
    } as Plot.PlotOptions),
  )
}

/** Share of dense attention's FLOPs that remain at each context length, by budget. */
export function costChart(rows: readonly CostRow[]): string {
  const lengths = [...new Set(rows.map((row) => row.length))]
  const stroke = (row: CostRow) => (row.length === lengths[0] ? color.infllm : color.dense)
  const last = lengths.map((length) => rows.findLast((row) => row.length === length)).filter((row) => row !== undefined)
  return markupOf(
    Plot.plot({
      ...CHART_FRAME,
      document: svgDocument(),
      style: CHART_STYLE,
      ariaLabel: 'FLOPs that remain of dense attention',
      x: { ...BUDGET_AXIS, domain: [...new Set(rows.map((row) => row.topK))] },
      y: {
        label: 'FLOPs of dense attention (%)',
        labelArrow: 'none',
        grid: true,
        ticks: 6,
        domain: [0, Math.ceil(Math.max(...rows.map((row) => row.flopShare)) * 20) * 5],
      },
      color: { type: 'identity' },
      marks: [
        Plot.line(rows, { x: 'topK', y: (row: CostRow) => row.flopShare * 100, z: 'length', stroke, strokeWidth: 2 }),
        Plot.dot(rows, { x: 'topK', y: (row: CostRow) => row.flopShare * 100, fill: stroke, r: 4 }),
        Plot.text(last, {
          x: 'topK',
          y: (row: CostRow) => row.flopShare * 100,
          text: (row: CostRow) => `${row.length.toLocaleString('en-US')} tokens`,
          fill: stroke,
          textAnchor: 'end',
          dx: 4,
          dy: -12,
        }),
      ],
    }),
  )
}

/** Shapes besides colours, for readers who cannot tell the colours apart. */
export function policySymbol(policy: string): 'circle' | 'square' | 'triangle' | 'diamond' {
  if (policy === 'phsa') return 'circle'
  if (policy === 'mean-pool') return 'square'
  return policy === 'infllm-v2' ? 'triangle' : 'diamond'
}

/** Exponential running mean without the pull of its start. @param memory share of the past, 0 to 1 */
export function runningMean(values: readonly number[], memory: number): number[] {
  let sum = 0
  let weight = 0
  return values.map((value) => {
    sum = sum * memory + value * (1 - memory)
    weight = weight * memory + (1 - memory)
    return sum / weight
  })
}
