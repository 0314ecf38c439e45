import * as Plot from '@observablehq/plot'
import { CHART_FRAME, CHART_STYLE } from '../chart-frame.js'
import { color } from '../palette.js'
import { markupOf, svgDocument } from '../svg-document.js'
import { type CurvePoint, thinOut } from './thin-out.js'

/** One line of a chart over steps. */
export interface StepLine {
  readonly points: readonly CurvePoint[]
  readonly stroke: string
  /** Noise behind a smooth line: thin and pale. */
  readonly pale?: boolean
  /** Values hold until the next one. */
  readonly stairs?: boolean
  /** Few measurements: each with a dot. */
  readonly dots?: boolean
}

/** What a chart over steps shows. */
export interface StepChart {
  /** Of the vertical axis. */
  readonly label: string
  /** The whole chart in words, for readers who do not see it. */
  readonly name: string
  readonly lines: readonly StepLine[]
  /** Steps of the whole run. */
  readonly steps: readonly [first: number, last: number]
  /** Ranges of steps in which attention was sparse. */
  readonly sparse?: readonly (readonly [from: number, to: number])[]
  /** Steps with a mark at the upper edge. */
  readonly marks?: readonly { readonly step: number; readonly stroke: string }[]
  /** Whether the axis begins at zero. */
  readonly fromZero?: boolean
}

/** Marks of one kind that fit side by side. */
const MARK_PLACES = 300

/** Draws curves over training steps; thousands of points become hundreds, with every peak still there. */
export function stepChart({ label, name, lines, steps: [first, last], sparse = [], marks = [], fromZero = false }: StepChart): string {
  const thin = lines.map((line) => ({ ...line, points: thinOut(line.points) }))
  return markupOf(
    Plot.plot({
      ...CHART_FRAME,
      document: svgDocument(),
      style: CHART_STYLE,
      ariaLabel: name,
      x: {
        label: 'training step',
        labelAnchor: 'center',
        labelArrow: 'none',
        ticks: 6,
        domain: [first, Math.max(last, first + 1)],
        tickFormat: ',d',
      },
      y: { label, labelArrow: 'none', grid: true, ticks: 6, nice: true, domain: valueDomain(thin, fromZero) },
      marks: [
        Plot.rectX(sparse, {
          x1: ([from]: readonly number[]) => from,
          x2: ([, to]: readonly number[]) => to,
          fill: color.phsa,
          fillOpacity: 0.09,
        }),
        Plot.tickX(thinMarks(marks, first, last), { x: 'step', stroke: 'stroke', strokeWidth: 2, insetBottom: 215 }),
        ...thin.flatMap(drawLine),
      ],
      color: { type: 'identity' },
    } as Plot.PlotOptions),
  )
}

function drawLine({ points, stroke, pale, stairs, dots }: StepLine): Plot.Markish[] {
  const channels = { x: 'step', y: 'value' } as const
  const line = Plot.line(points, {
    ...channels,
    stroke,
    strokeOpacity: pale ? 0.35 : 1,
    strokeWidth: pale ? 1 : 2,
    ...(stairs ? { curve: 'step-after' as const } : {}),
  })
  return dots ? [line, Plot.dot(points, { ...channels, fill: stroke, r: 2.5 })] : [line]
}

/** Marks nearer than can be told apart are one. */
function thinMarks(marks: NonNullable<StepChart['marks']>, first: number, last: number): NonNullable<StepChart['marks']> {
  const places = new Map(
    marks.map((mark) => [`${mark.stroke} ${Math.floor(((mark.step - first) / (last - first + 1)) * MARK_PLACES)}`, mark]),
  )
  return [...places.values()]
}

/** From the least to the largest value; around one that never changes, so that its axis has two ends. */
function valueDomain(lines: readonly StepLine[], fromZero: boolean): [number, number] {
  const values = lines.flatMap(({ points }) => points.map(({ value }) => value))
  const least = Math.min(...values, ...(fromZero ? [0] : []))
  const most = Math.max(...values)
  const room = least === most ? Math.abs(most) * 0.05 || 1 : 0
  return [least - room, most + room]
}
