import { effect, type Signal } from '@preact/signals-core'
import { byId, element } from './element.js'
import type { State } from './state.js'

/** Layer and head: attention differs from one to the next. */
export function showPickers({ lab, layer, head }: State): void {
  effect(() => {
    const found = lab.value
    if (!found) return
    const layers = picker('Layer', found.layers, layer)
    byId('pickers').replaceChildren(...(found.kvHeads > 1 ? [layers, picker('Head', found.kvHeads, head)] : [layers]))
  })
}

function picker(label: string, choices: number, chosen: Signal<number>): HTMLElement {
  const options = Array.from({ length: choices }, (_, index) => {
    const input = element('input', { type: 'radio', name: label, value: String(index) })
    input.checked = chosen.peek() === index
    input.addEventListener('change', () => {
      chosen.value = index
    })
    return element('label', {}, input, element('span', {}, String(index + 1)))
  })
  return element('fieldset', { class: 'picker' }, element('legend', {}, label), element('div', {}, ...options))
}
