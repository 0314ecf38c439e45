import * as Plot from '@observablehq/plot'
import { markupOf, svgDocument } from '../../apps/cli/src/report/svg-document.js'
import { type Curve, lengthCurve, topKCurve } from './curves.js'
import type { DeviceReport, ReportRow } from './merge-results.js'

interface Point {
  readonly line: string
  readonly x: number
  readonly milliseconds: number
}

/** Readable on light and on dark pages: the picture brings its own background. */
const COLORS: Readonly<Record<string, string>> = {
  'PHSA, softmax score': '#b3470f',
  'PHSA, logit score': '#1767a6',
  'dense, cuDNN': '#3d7a3f',
}
const STYLE = { background: '#ffffff', color: '#1d232b', fontSize: '13px', fontFamily: 'system-ui, sans-serif' } as const
const FRAME = { width: 640, height: 400, marginLeft: 64, marginRight: 150, marginBottom: 48, marginTop: 28 } as const

/** Forward milliseconds by length, both axes logarithmic, as SVG; empty where fewer than two lengths were measured. */
export function lengthPlot(report: DeviceReport): string {
  const curve = lengthCurve(report)
  const points = pointsOf(curve)
  return plot(
    points,
    'Milliseconds of attention by length',
    {
      type: 'log',
      base: 2,
      label: 'tokens (forward: pool + select + attend; 16/8 heads, m 16, topK 16)',
      ticks: [...new Set(points.map(({ x }) => x))],
      tickFormat: (length: number) => (length >= 2 ** 20 ? `${length / 2 ** 20}M` : `${length / 1024}k`),
    },
    { type: 'log', tickFormat: (value: number) => String(value) },
  )
}

/** Forward milliseconds by topK at 32,768 tokens, as SVG; empty likewise. */
export function topKPlot(report: DeviceReport): string {
  const curve = topKCurve(report)
  return plot(
    pointsOf(curve),
    'Milliseconds of attention by topK',
    {
      type: 'point',
      domain: curve.places,
      label: 'blocks of 16 that a query selects (forward at 32,768 tokens, 16/8 heads)',
    },
    { zero: true },
  )
}

function pointsOf({ at, rows, dense }: Curve): Point[] {
  const ours = rows.flatMap((row) => scoresOf(row).map((score) => point(`PHSA, ${score} score`, at(row), row.rated?.forward?.milliseconds)))
  return [...ours, ...dense.map(({ place, milliseconds }) => point('dense, cuDNN', place, milliseconds))].flat()
}

/** Without selection both scores are one. */
function scoresOf({ spec }: ReportRow): string[] {
  return spec.topK === 0 ? ['softmax', 'logit'] : [spec.score]
}

function point(line: string, x: number, milliseconds: number | undefined): Point[] {
  return milliseconds === undefined ? [] : [{ line, x, milliseconds }]
}

function plot(points: readonly Point[], ariaLabel: string, x: Plot.ScaleOptions, y: Plot.ScaleOptions): string {
  if (points.length === 0) return ''
  const stroke = ({ line }: Point) => COLORS[line]
  const ends = Object.keys(COLORS).flatMap((line) => points.filter((point) => point.line === line).slice(-1))
  const svg = Plot.plot({
    ...FRAME,
    document: svgDocument(),
    style: STYLE,
    ariaLabel,
    x: { ...x, labelAnchor: 'center', labelArrow: 'none' },
    y: { ...y, label: 'milliseconds', labelArrow: 'none', grid: true, ticks: 6 },
    color: { type: 'identity' },
    marks: [
      Plot.line(points, { x: 'x', y: 'milliseconds', z: 'line', stroke, strokeWidth: 2 }),
      Plot.dot(points, { x: 'x', y: 'milliseconds', fill: stroke, r: 3.5 }),
      Plot.text(ends, { x: 'x', y: 'milliseconds', text: 'line', fill: stroke, textAnchor: 'start', dx: 9 }),
    ],
  })
  svg.setAttribute('xmlns', 'http://www.w3.org/2000/svg')
  return `${markupOf(svg)}\n`
}
