import { shape } from '../page/element.js'

/** One line: places on the horizontal axis (0 is the first tick; between ticks is allowed) and values. */
export interface ChartLine {
  readonly name: string
  /** A CSS colour. */
  readonly color: string
  /** Lengths of dash and gap, so that lines differ without colour. */
  readonly dash?: string
  readonly points: readonly { readonly at: number; readonly value: number }[]
}

/** A chart of lines over evenly spaced ticks. */
export interface ChartPlan {
  /** One sentence for those who do not see it. */
  readonly summary: string
  readonly lines: readonly ChartLine[]
  readonly ticks: readonly string[]
  readonly axis: string
  /** Values with grid lines; the first and the last bound the chart. */
  readonly values: readonly { readonly value: number; readonly label: string }[]
  /** Of the value axis. */
  readonly scale: 'linear' | 'logarithmic'
  /** Place of a vertical line: what is chosen now. */
  readonly now?: number
}

const MARGIN = { top: 12, right: 108, bottom: 44, left: 44 }
const LABEL_HEIGHT = 15

/** Draws a chart in the size of its place. */
export function drawLineChart(place: HTMLElement, plan: ChartPlan): void {
  const { width, height } = place.getBoundingClientRect()
  if (width === 0) return
  const inner = { width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom }
  const x = (at: number) => MARGIN.left + (inner.width * at) / Math.max(1, plan.ticks.length - 1)
  const amount = (value: number) => (plan.scale === 'linear' ? value : Math.log10(Math.max(value, 1e-6)))
  const low = amount(plan.values[0].value)
  const high = amount(plan.values[plan.values.length - 1].value)
  const y = (value: number) => MARGIN.top + inner.height * (1 - (amount(value) - low) / (high - low))

  const drawing = shape('svg', { role: 'img', 'aria-label': plan.summary, viewBox: `0 0 ${width} ${height}` })
  for (const { value, label } of plan.values) {
    drawing.append(shape('line', { class: 'grid', x1: x(0), x2: MARGIN.left + inner.width, y1: y(value), y2: y(value) }))
    drawing.append(shape('text', { x: MARGIN.left - 8, y: y(value) + 4, 'text-anchor': 'end' }, label))
  }
  for (const [index, label] of plan.ticks.entries()) {
    drawing.append(shape('text', { x: x(index), y: height - 24, 'text-anchor': 'middle' }, label))
  }
  drawing.append(shape('text', { x: MARGIN.left + inner.width / 2, y: height - 4, 'text-anchor': 'middle' }, plan.axis))
  if (plan.now !== undefined) {
    drawing.append(shape('line', { class: 'now', x1: x(plan.now), x2: x(plan.now), y1: MARGIN.top, y2: MARGIN.top + inner.height }))
  }
  const drawn = plan.lines.filter(({ points }) => points.length > 0)
  for (const line of drawn) drawing.append(...lineShapes(line, x, y))
  const ends = drawn.map((line) => ({ line, top: y(line.points[line.points.length - 1].value) }))
  for (const { line, top } of apart(ends, MARGIN.top + inner.height)) {
    const at = x(line.points[line.points.length - 1].at) + 10
    drawing.append(colored(shape('text', { class: 'name', x: at, y: top + 4 }, line.name), line.color))
  }
  place.replaceChildren(drawing)
}

function lineShapes({ points, color, dash }: ChartLine, x: (at: number) => number, y: (value: number) => number): SVGElement[] {
  const path = points.map(({ at, value }, index) => `${index === 0 ? 'M' : 'L'}${x(at)} ${y(value)}`).join('')
  const line = shape('path', { class: 'line', d: path, ...(dash && { 'stroke-dasharray': dash }) })
  return [line, ...points.map(({ at, value }) => shape('circle', { class: 'point', cx: x(at), cy: y(value), r: 3 }))].map((drawn) =>
    colored(drawn, color),
  )
}

function colored(drawn: SVGElement, color: string): SVGElement {
  drawn.style.setProperty('--method', color)
  return drawn
}

/** Labels from top to bottom, each at least a line below the one before it, and none below the chart. */
function apart<Label extends { readonly top: number }>(labels: readonly Label[], bottom: number): Label[] {
  let last = Number.NEGATIVE_INFINITY
  const placed = [...labels]
    .sort((left, right) => left.top - right.top)
    .map((label) => {
      last = Math.max(label.top, last + LABEL_HEIGHT)
      return { ...label, top: last }
    })
  const excess = Math.max(0, last - bottom)
  return placed.map((label) => ({ ...label, top: label.top - excess }))
}
