import { effect } from '@preact/signals-core'
import { type ChartLine, drawLineChart } from '../chart/line-chart.js'
import { numberTable } from '../chart/number-table.js'
import { whenResized } from '../chart/when-resized.js'
import { METHODS, type Method, type RecallPoint } from '../lab-contract.js'
import { byId, element } from './element.js'
import { METHOD_NAMES } from './method-names.js'
import { percent } from './numbers.js'
import type { State } from './state.js'

/** Dashes of the lines, so that they differ without colour. */
export const METHOD_DASHES: Readonly<Record<Method, string>> = { oracle: '1 4', phsa: '', 'mean-pool': '7 4', 'infllm-v2': '2 3 7 3' }

/** The chart of recall against budget: the mean of the layers that are measured so far. */
export function showRecall(state: State): void {
  const place = byId('recall-chart')
  const table = byId('recall-table')
  const draw = whenResized(place, () => {
    const means = meanOfLayers(state.recall.peek())
    const budgets = [...new Set(means.map(({ topK }) => topK))]
    if (budgets.length < 2) return
    const lines = METHODS.map((method) => lineOf(method, means, budgets))
    const least = Math.floor(10 * Math.min(...means.map(({ recall }) => recall))) / 10
    const values = Array.from({ length: Math.round((1 - least) / 0.1) + 1 }, (_, step) => least + step / 10)
    drawLineChart(place, {
      summary: `Recall by blocks chosen. At ${budgets.at(-1)} blocks: ${METHODS.map((method) => `${METHOD_NAMES[method]} ${percent(valueAt(means, method, budgets.at(-1)!))}`).join(', ')}.`,
      lines,
      ticks: budgets.map(String),
      axis: 'blocks chosen',
      values: (values.length > 6 ? values.filter((_, index) => (values.length - 1 - index) % 2 === 0) : values).map((value) => ({
        value,
        label: percent(value, 0),
      })),
      scale: 'linear',
      now: placeOf(state.settings.peek().topK, budgets),
    })
  })
  effect(() => {
    const layers = state.recall.value
    // Both are looked at inside of `draw`, where changes would go unnoticed.
    const { topK } = state.settings.value
    if (layers.length === 0) {
      const words = state.document.value ? 'Measuring…' : 'Measured on your text, once it is read.'
      place.replaceChildren(element('p', { class: 'empty' }, words))
      table.replaceChildren()
      return
    }
    if (layers.every((points) => points.length === 0)) {
      place.replaceChildren(
        element(
          'p',
          { class: 'empty' },
          'This text is shorter than what is always seen: there is nothing to choose. Read more of it, or narrow the local window.',
        ),
      )
      return
    }
    draw()
    const means = meanOfLayers(layers)
    const budgets = [...new Set(means.map((point) => point.topK))]
    table.replaceChildren(
      numberTable(
        `Recall by method and blocks chosen; ${topK} are chosen now`,
        ['Blocks', ...METHODS.map((method) => METHOD_NAMES[method])],
        budgets.map((budget) => [String(budget), ...METHODS.map((method) => percent(valueAt(means, method, budget)))]),
      ),
    )
  })
}

function lineOf(method: Method, means: readonly RecallPoint[], budgets: readonly number[]): ChartLine {
  return {
    name: METHOD_NAMES[method],
    color: `var(--${method})`,
    dash: METHOD_DASHES[method],
    points: budgets.map((budget, at) => ({ at, value: valueAt(means, method, budget) })),
  }
}

function valueAt(means: readonly RecallPoint[], method: Method, topK: number): number {
  return means.find((point) => point.method === method && point.topK === topK)?.recall ?? 0
}

/** The mean over layers of each method at each budget. */
export function meanOfLayers(layers: readonly (readonly RecallPoint[])[]): RecallPoint[] {
  const measured = layers.filter((points) => points.length > 0)
  return (measured[0] ?? []).map((point, index) => ({
    ...point,
    recall: measured.reduce((sum, points) => sum + points[index].recall, 0) / measured.length,
  }))
}

/** Where a budget stands among the ticks, which double from one to the next. */
export function placeOf(topK: number, budgets: readonly number[]): number | undefined {
  const above = budgets.findIndex((budget) => budget >= topK)
  if (above < 0) return undefined
  if (budgets[above] === topK) return above
  const [low, high] = [budgets[above - 1], budgets[above]]
  return above - 1 + Math.log2(topK / low) / Math.log2(high / low)
}
