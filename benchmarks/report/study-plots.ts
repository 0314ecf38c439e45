import * as Plot from '@observablehq/plot'
import { markupOf, svgDocument } from '../../apps/cli/src/report/svg-document.js'
import { acrossSeeds, overSeeds, ownBudget, retrievalOf, type StudyResults } from './study-results.js'

interface Point {
  readonly line: string
  readonly seed: number
  readonly x: number
  readonly y: number
}

/** Readable on light and on dark pages: the picture brings its own background. */
const COLORS = ['#b3470f', '#1767a6', '#3d7a3f', '#7a3d8f', '#8a6d00', '#5a5f66']
const STYLE = { background: '#ffffff', color: '#1d232b', fontSize: '13px', fontFamily: 'system-ui, sans-serif' } as const
const FRAME = { width: 720, height: 400, marginLeft: 56, marginRight: 190, marginBottom: 48, marginTop: 28 } as const
/** Least distance of two labels, in percent of retrieval. */
const LABEL_HEIGHT = 5
const PERCENT: Plot.ScaleOptions = { label: 'retrieval, %', labelArrow: 'none', domain: [0, 100], grid: true }

/** The pictures of a study, by file name; those without a result are left out. */
export function studyPlots(study: StudyResults): Map<string, string> {
  const names = study.config.branches.filter(({ policy }) => policy !== 'dense').map(({ name }) => name)
  const isVariant = (name: string) =>
    study.config.branches.some((branch) => branch.name === name && branch.policy === 'phsa' && branch.distillation)
  const selectors = names.filter((name) => !isVariant(name) || name === 'phsa-distilled')
  const pictures: [string, string][] = [
    ['retrieval-by-selector.svg', topKPlot(study, selectors, 'Retrieval by topK: selectors, with and without distillation')],
    ['retrieval-of-variants.svg', topKPlot(study, names.filter(isVariant), 'Retrieval by topK: variants of distilled PHSA')],
    ['emergence.svg', emergencePlot(study)],
    ['cost.svg', costPlot(study)],
  ]
  return new Map(pictures.filter(([, svg]) => svg !== ''))
}

/** Mean over seeds as a line, each seed as a dot. */
function topKPlot(study: StudyResults, names: readonly string[], ariaLabel: string): string {
  const { topKs } = study.config.evaluation
  const points = names.flatMap((line) =>
    topKs.flatMap((x) =>
      acrossSeeds(study, line, (result) => retrievalOf(result, ownBudget(result, x))).map((y, seed) => ({ line, seed, x, y })),
    ),
  )
  return plot(points, names, ariaLabel, {
    type: 'log',
    base: 2,
    label: 'blocks of 16 that a query selects',
    ticks: [...topKs],
    tickFormat: String,
  })
}

/** Dense retrieval while the dense start trains: a line for each seed. */
function emergencePlot({ seeds }: StudyResults): string {
  const points = seeds.flatMap(({ seed, start }) =>
    start.probes.map(({ step, accuracy }) => ({ line: `seed ${seed}`, seed, x: step, y: accuracy })),
  )
  const names = seeds.map(({ seed }) => `seed ${seed}`)
  return plot(points, names, 'Dense retrieval while the dense start trains', { label: 'step', tickFormat: String })
}

/** Retrieval at topK 2 by what a step takes. */
function costPlot(study: StudyResults): string {
  const points = study.config.branches.flatMap(({ name }) => {
    const times = acrossSeeds(study, name, ({ milliseconds }) => milliseconds.mean)
    return acrossSeeds(study, name, (result) => retrievalOf(result, ownBudget(result, 2))).map((y, seed) => ({
      line: name,
      seed,
      x: times[seed],
      y,
    }))
  })
  if (points.length === 0) return ''
  const means = meansOf(points, (point) => point.line)
  return svg('Retrieval at topK 2 by the time of a step', { label: 'milliseconds a training step', nice: true, tickFormat: String }, [
    Plot.dot(points, { x: 'x', y: 'y', fill: COLORS[0], r: 2, fillOpacity: 0.5 }),
    Plot.dot(means, { x: 'x', y: 'y', fill: COLORS[0], r: 4 }),
    Plot.text(spread(means), { x: 'x', y: 'y', text: 'line', textAnchor: 'start', dx: 8 }),
  ])
}

function plot(points: readonly Point[], names: readonly string[], ariaLabel: string, x: Plot.ScaleOptions): string {
  if (points.length === 0) return ''
  const stroke = ({ line }: Point) => COLORS[names.indexOf(line) % COLORS.length]
  const means = meansOf(points, ({ line, x }) => `${line} ${x}`)
  const ends = spread(names.flatMap((name) => means.filter(({ line }) => line === name).slice(-1)))
  return svg(ariaLabel, x, [
    Plot.line(means, { x: 'x', y: 'y', z: 'line', stroke, strokeWidth: 2 }),
    Plot.dot(points, { x: 'x', y: 'y', fill: stroke, r: 2.5, fillOpacity: 0.6 }),
    Plot.text(ends, { x: 'x', y: 'y', text: 'line', fill: stroke, textAnchor: 'start', dx: 9 }),
  ])
}

function svg(ariaLabel: string, x: Plot.ScaleOptions, marks: Plot.Markish[]): string {
  const picture = Plot.plot({
    ...FRAME,
    document: svgDocument(),
    style: STYLE,
    ariaLabel,
    x: { ...x, labelAnchor: 'center', labelArrow: 'none' },
    y: PERCENT,
    color: { type: 'identity' },
    marks,
  })
  picture.setAttribute('xmlns', 'http://www.w3.org/2000/svg')
  return `${markupOf(picture)}\n`
}

/** One point for each group, at the means of its points. */
function meansOf(points: readonly Point[], groupOf: (point: Point) => string): Point[] {
  const groups = new Map<string, Point[]>()
  for (const point of points) groups.set(groupOf(point), [...(groups.get(groupOf(point)) ?? []), point])
  const mean = (group: readonly Point[], axis: 'x' | 'y') => overSeeds(group.map((point) => point[axis])).mean
  return [...groups.values()].map((group) => ({ ...group[0], x: mean(group, 'x'), y: mean(group, 'y') }))
}

/** Moves labels apart that would lie over each other: down, because many lines end at the top. */
function spread(labels: readonly Point[]): Point[] {
  const moved: Point[] = []
  for (const label of [...labels].sort((left, right) => right.y - left.y)) {
    const above = moved.at(-1)?.y ?? Number.POSITIVE_INFINITY
    moved.push({ ...label, y: Math.min(label.y, above - LABEL_HEIGHT) })
  }
  return moved
}
