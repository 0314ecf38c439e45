import { effect } from '@preact/signals-core'
import { type HeadLookBack, METHODS, type Method } from '../lab-contract.js'
import { byId, element } from './element.js'
import { METHOD_NAMES } from './method-names.js'
import { count, percent } from './numbers.js'
import type { Answer, State } from './state.js'
import { scrollToBlock } from './text-view.js'

/** Blocks that a card quotes; the others are counted. */
const QUOTED = 3

/** One card a method: what it chose, in words. */
export function showCards(state: State): void {
  const cards = METHODS.map((method) => {
    const card = element('article', { class: 'card' })
    card.style.setProperty('--method', `var(--${method})`)
    return { method, card }
  })
  byId('cards').append(...cards.map(({ card }) => card))
  effect(() => {
    const { answer, lookBack, document } = state
    const texts = document.value?.texts
    for (const { method, card } of cards) {
      const title = element('h3', {}, METHOD_NAMES[method])
      if (answer.value && lookBack.value && texts) card.replaceChildren(title, ...content(method, lookBack.value, answer.value, texts))
      else card.replaceChildren(title, element('p', { class: 'figure' }, '–'), element('p', { class: 'caption' }, 'Waiting for the model'))
    }
  })
}

function content(method: Method, { mass, choices }: HeadLookBack, { question }: Answer, texts: readonly string[]): HTMLElement[] {
  const { blocks, recall } = choices[method]
  const { blockSize } = question.settings
  const dearest = [...blocks].sort((left, right) => mass[right] - mass[left])
  const list = element('ol', {}, ...dearest.slice(0, QUOTED).map((block) => quote(block, mass[block], texts, blockSize)))
  const left = dearest.length - QUOTED
  return [
    element('p', { class: 'figure' }, percent(recall)),
    element('p', { class: 'caption' }, caption(method, blocks, choices.oracle.blocks)),
    list,
    ...(left > 0 ? [element('p', { class: 'more' }, `and ${count(left)} with less attention`)] : []),
  ]
}

function caption(method: Method, blocks: readonly number[], best: readonly number[]): string {
  if (best.length === 0) return 'of the attention is on what is seen; there is nothing to choose from here.'
  if (method === 'oracle') return `of the attention: the most that a choice of ${blocks.length} can keep.`
  const shared = blocks.filter((block) => best.includes(block)).length
  return `of the attention. ${shared} of ${best.length} blocks agree with true attention.`
}

function quote(block: number, share: number, texts: readonly string[], blockSize: number): HTMLElement {
  const snippet = texts
    .slice(block * blockSize, (block + 1) * blockSize)
    .join('')
    .replace(/\s+/g, ' ')
    .trim()
  const button = element(
    'button',
    { type: 'button' },
    element('span', { class: 'snippet' }, snippet || '(white space)'),
    element('span', { class: 'where' }, element('span', {}, `block ${count(block)}`), element('span', {}, percent(share))),
  )
  button.addEventListener('click', () => scrollToBlock(block))
  return element('li', {}, button)
}
