import { effect } from '@preact/signals-core'
import type { Remote } from 'comlink'
import { drawLineChart } from '../chart/line-chart.js'
import { numberTable } from '../chart/number-table.js'
import { whenResized } from '../chart/when-resized.js'
import type { Lab, TimedLength } from '../lab-contract.js'
import { byId, element } from './element.js'
import { count, significant } from './numbers.js'
import type { State } from './state.js'

const LENGTHS = [1024, 2048, 4096, 8192, 16_384, 32_768, 65_536]
/** Milliseconds of one call after which a longer one is not tried. */
const PATIENCE = 700

/** Times sparse attention against dense on the visitor's device, when asked to. */
export function showTiming(state: State, lab: Remote<Lab>): void {
  const place = byId('timing-chart')
  const button = byId('measure', HTMLButtonElement)
  let timed: TimedLength[] = []
  let stops = false
  const draw = whenResized(place, () => drawTimes(place, timed))
  place.replaceChildren(element('p', { class: 'empty' }, 'A few seconds of work for this device, on random numbers.'))

  const measure = async () => {
    stops = false
    timed = []
    button.textContent = 'Stop'
    try {
      let withDense = true
      for (const length of LENGTHS) {
        const next: TimedLength = await lab.time(state.settings.peek(), length, withDense)
        if (stops) break
        timed = [...timed, next]
        draw()
        byId('timing-table').replaceChildren(tableOf(timed))
        byId('timing-numbers').hidden = false
        // The next length takes up to four times as long.
        withDense &&= (next.dense ?? 0) < PATIENCE
        if (next.sparse >= PATIENCE) break
      }
      byId('timing-note').textContent = `One layer of this model’s attention, on ${state.lab.peek()?.device ?? 'this device'}.`
    } catch (error) {
      state.status.value = { kind: 'failed', text: (error as Error).message }
    } finally {
      button.textContent = 'Measure again'
    }
  }
  let running: Promise<void> | undefined
  button.addEventListener('click', () => {
    if (running) {
      stops = true
      return
    }
    running = measure().finally(() => {
      running = undefined
    })
  })
  effect(() => {
    button.disabled = !state.document.value
  })
}

function drawTimes(place: HTMLElement, timed: readonly TimedLength[]): void {
  if (timed.length === 0) return
  const times = timed.flatMap(({ sparse, dense }) => (dense === undefined ? [sparse] : [sparse, dense]))
  const low = Math.floor(Math.log10(Math.min(...times)))
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...times))))
  const last = timed[timed.length - 1]
  drawLineChart(place, {
    summary: `Milliseconds by tokens. At ${count(last.length)}: sparse ${significant(last.sparse)}${last.dense === undefined ? '' : `, dense ${significant(last.dense)}`}.`,
    lines: [
      {
        name: 'Dense',
        color: 'var(--oracle)',
        dash: '1 4',
        points: timed.flatMap(({ dense }, at) => (dense === undefined ? [] : [{ at, value: dense }])),
      },
      { name: 'PHSA', color: 'var(--phsa)', points: timed.map(({ sparse }, at) => ({ at, value: sparse })) },
    ],
    ticks: LENGTHS.slice(0, Math.max(4, timed.length)).map((length) => `${length / 1024}k`),
    axis: 'tokens',
    values: Array.from({ length: high - low + 1 }, (_, step) => ({
      value: 10 ** (low + step),
      label: timeText(10 ** (low + step)),
    })),
    scale: 'logarithmic',
  })
}

function timeText(milliseconds: number): string {
  return milliseconds < 1000 ? `${significant(milliseconds)} ms` : `${significant(milliseconds / 1000)} s`
}

function tableOf(timed: readonly TimedLength[]): HTMLTableElement {
  return numberTable(
    'Milliseconds of one call by length',
    ['Tokens', 'PHSA, ms', 'Dense, ms', 'Faster'],
    timed.map(({ length, sparse, dense }) => [
      count(length),
      significant(sparse),
      dense === undefined ? 'not tried' : significant(dense),
      dense === undefined ? '' : `${significant(dense / sparse)}×`,
    ]),
  )
}
