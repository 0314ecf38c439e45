import * as Plot from '@observablehq/plot'
import type { PositionRow } from '@phsa/trainer'
import { variantName } from '../evaluation/follow-evaluation.js'
import { CHART_FRAME, CHART_STYLE } from './chart-frame.js'
import { color, policyColor } from './palette.js'
import { markupOf, svgDocument } from './svg-document.js'

/** Loss over that of dense attention by position, a line a policy and budget, with its 95 % intervals. */
export function positionChart(rows: readonly PositionRow[]): string {
  const points = rows.flatMap((row) =>
    row.buckets.flatMap(({ from, to, overDense }) => {
      if (!overDense) return []
      const [low, high] = overDense.interval ?? [overDense.mean, overDense.mean]
      return [
        {
          policy: row.policy,
          variant: variantName(row),
          topK: `topK ${row.topK}`,
          range: `${from}–${to - 1}`,
          mean: overDense.mean,
          low,
          high,
        },
      ]
    }),
  )
  const ranges = [...new Set(points.map(({ range }) => range))]
  const stroke = ({ policy }: { policy: string }) => policyColor(policy)
  return markupOf(
    Plot.plot({
      ...CHART_FRAME,
      marginBottom: 74,
      marginRight: 56,
      document: svgDocument(),
      style: CHART_STYLE,
      ariaLabel: 'Loss over dense attention by position; the table under it has the numbers',
      x: { type: 'point', label: null, domain: ranges, tickRotate: -45 },
      y: { label: 'nats a token over dense', labelArrow: 'none', grid: true, ticks: 6, nice: true },
      marks: [
        Plot.ruleY([0], { stroke: color.dense }),
        Plot.ruleX(points, { x: 'range', y1: 'low', y2: 'high', stroke, strokeOpacity: 0.4 }),
        Plot.line(points, { x: 'range', y: 'mean', z: 'variant', stroke, strokeWidth: 2 }),
        Plot.dot(points, { x: 'range', y: 'mean', fill: stroke }),
        Plot.text(readableLabels(points.filter(({ range }) => range === ranges.at(-1))), {
          x: 'range',
          y: 'mean',
          text: 'topK',
          fill: color.text,
          textAnchor: 'start',
          dx: 8,
        }),
      ],
    }),
  )
}

/** The ends of lines that get their label: of those with the same budget that end at one height, the first. */
function readableLabels<End extends { readonly topK: string; readonly mean: number }>(ends: readonly End[]): End[] {
  const means = ends.map(({ mean }) => mean)
  const near = (Math.max(0, ...means) - Math.min(0, ...means)) / 12
  return ends.filter(
    ({ topK, mean }, index) => !ends.slice(0, index).some((other) => other.topK === topK && Math.abs(other.mean - mean) < near),
  )
}
