import { effect } from '@preact/signals-core'
import { METHODS, type Method } from '../lab-contract.js'
import { type BlockSeen, blocksSeen } from './block-views.js'
import { byId, element, shape } from './element.js'
import { METHOD_NAMES } from './method-names.js'
import { percent } from './numbers.js'
import type { State } from './state.js'
import { scrollToBlock } from './text-view.js'

/** One lane a method, with the whole text from left to right: what is seen of it, and how much of the attention that is. Choosing one shows it in the text. */
export function showLanes(state: State): void {
  const lanes = METHODS.map((method) => lane(state, method))
  byId('lanes').append(...lanes.map(({ row }) => row))
  effect(() => {
    const { answer, lookBack, document } = state
    const tokens = document.value?.texts.length ?? 0
    for (const { method, drawing, recall } of lanes) {
      if (!answer.value || !lookBack.value) {
        drawing.replaceChildren()
        recall.textContent = '–'
        continue
      }
      const { question } = answer.value
      const { mass, choices } = lookBack.value
      const seen = blocksSeen(tokens, question.query, question.settings, choices[method])
      const right = new Set(choices.oracle.blocks)
      drawing.setAttribute('viewBox', `0 0 ${seen.length} 1`)
      drawing.replaceChildren(
        ...(method === 'oracle' ? massShapes(seen, mass) : choiceShapes(seen, right)),
        shape('line', { class: 'here', x1: here(question), x2: here(question), y1: 0, y2: 1 }),
      )
      recall.textContent = percent(choices[method].recall)
    }
  })
}

function here({ query, settings }: { query: number; settings: { blockSize: number } }): number {
  return (query + 0.5) / settings.blockSize
}

function lane(state: State, method: Method) {
  const input = element('input', { type: 'radio', name: 'shown', value: method })
  input.checked = method === state.shown.peek()
  input.addEventListener('change', () => {
    state.shown.value = method
  })
  const drawing = shape('svg', { viewBox: '0 0 1 1', preserveAspectRatio: 'none', 'aria-hidden': 'true' })
  drawing.addEventListener('click', (event) => {
    const { left, width } = drawing.getBoundingClientRect()
    const tokens = state.document.peek()?.texts.length ?? 0
    const blocks = Math.ceil(tokens / state.settings.peek().blockSize)
    scrollToBlock(Math.floor((((event as MouseEvent).clientX - left) / width) * blocks))
  })
  const recall = element('span', { class: 'lane-recall' }, '–')
  const row = element(
    'label',
    { class: 'lane', 'data-method': method },
    input,
    element('span', { class: 'lane-name' }, METHOD_NAMES[method]),
    drawing,
    recall,
  )
  row.style.setProperty('--method', `var(--${method})`)
  return { method, row, drawing, recall }
}

/** Whole height for what true attention would choose too, half of it for the rest. */
function choiceShapes(seen: readonly BlockSeen[], right: ReadonlySet<number>): SVGElement[] {
  const forced = seen.map((state, block) => (state === 'forced' ? bar(block, 1) : ''))
  const chosen = seen.map((state, block) => (state === 'chosen' ? bar(block, right.has(block) ? 1 : 0.5) : ''))
  return [shape('path', { class: 'forced', d: forced.join('') }), shape('path', { class: 'chosen', d: chosen.join('') })]
}

/** Bars of attention on a scale of square roots, so that a few large ones do not hide the rest. */
function massShapes(seen: readonly BlockSeen[], mass: Float32Array): SVGElement[] {
  const most = Math.sqrt(mass.reduce((largest, share) => Math.max(largest, share), 0)) || 1
  const bars = (wanted: (state: BlockSeen) => boolean) =>
    seen.map((state, block) => (wanted(state) ? bar(block, Math.sqrt(mass[block] ?? 0) / most) : '')).join('')
  return [
    shape('path', { class: 'forced', d: bars((state) => state === 'forced' || state === 'no') }),
    shape('path', { class: 'mass', d: bars((state) => state === 'chosen') }),
  ]
}

function bar(block: number, height: number): string {
  return `M${block} 1v${-height}h1v${height}z`
}
