import * as Plot from '@observablehq/plot'
import { markupOf, svgDocument } from '../../apps/cli/src/report/svg-document.js'
import type { DeviceReport, ReportRow } from './merge-results.js'
import { lengthRows, topKRows } from './report-tables.js'

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

/** Forward milliseconds by length, both axes logarithmic, as SVG; empty where nothing was measured. */
export function lengthPlot(report: DeviceReport): string {
  const dense = report.peers
    .filter(({ peer, passes, shape }) => peer === 'cudnn' && passes === 'forward' && shape.heads === 16 && shape.kvHeads === 8)
    .flatMap(({ shape, milliseconds }) => (milliseconds === undefined ? [] : [{ line: 'dense, cuDNN', x: shape.length, milliseconds }]))
  const points = [...lengthRows(report).flatMap((row) => pointsOf(row, row.length)), ...dense].sort((left, right) => left.x - right.x)
  const lengths = [...new Set(points.map(({ x }) => x))]
  return plot(
    points,
    'Milliseconds of attention by length',
    {
      type: 'log',
      base: 2,
      label: 'tokens (forward: pool + select + attend; 16/8 heads, m 16, topK 16)',
      ticks: lengths,
      tickFormat: (length: number) => (length >= 2 ** 20 ? `${length / 2 ** 20}M` : `${length / 1024}k`),
    },
    { type: 'log', tickFormat: (value: number) => String(value) },
  )
}

/** Forward milliseconds by topK at 32,768 tokens, as SVG. */
export function topKPlot(report: DeviceReport): string {
  const rows = topKRows(report)
  const points = rows.flatMap((row) => pointsOf(row, row.spec.topK))
  const topKs = [...new Set(points.map(({ x }) => x))]
  const dense = report.peers.find(
    ({ peer, passes, shape }) =>
      peer === 'cudnn' && passes === 'forward' && shape.heads === 16 && shape.kvHeads === 8 && shape.length === 32768,
  )?.milliseconds
  const level = dense === undefined ? [] : topKs.map((x) => ({ line: 'dense, cuDNN', x, milliseconds: dense }))
  return plot(
    [...points, ...level],
    'Milliseconds of attention by topK',
    {
      type: 'point',
      domain: topKs,
      label: 'blocks of 16 that a query selects (forward at 32,768 tokens, 16/8 heads)',
    },
    { zero: true },
  )
}

/** Without selection both scores are one. */
function pointsOf({ spec, rated }: ReportRow, x: number): Point[] {
  const milliseconds = rated?.forward?.milliseconds
  if (milliseconds === undefined) return []
  const scores = spec.topK === 0 ? ['softmax', 'logit'] : [spec.score]
  return scores.map((score) => ({ line: `PHSA, ${score} score`, x, milliseconds }))
}

function plot(points: readonly Point[], ariaLabel: string, x: Plot.ScaleOptions, y: Plot.ScaleOptions): string {
  if (points.length === 0) return ''
  const stroke = ({ line }: Point) => COLORS[line]
  const ends = Object.keys(COLORS).flatMap((line) => points.filter((point) => point.line === line).slice(-1))
  const last = Math.max(...points.map((point) => point.x))
  const isLast = (point: Point) => point.x === last
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
      Plot.text(ends.filter(isLast), { x: 'x', y: 'milliseconds', text: 'line', fill: stroke, textAnchor: 'start', dx: 9 }),
      // A line that ends earlier is named above its end, where no other passes.
      Plot.text(
        ends.filter((point) => !isLast(point)),
        { x: 'x', y: 'milliseconds', text: 'line', fill: stroke, textAnchor: 'end', dx: -4, dy: -12 },
      ),
    ],
  })
  svg.setAttribute('xmlns', 'http://www.w3.org/2000/svg')
  return `${markupOf(svg)}\n`
}
