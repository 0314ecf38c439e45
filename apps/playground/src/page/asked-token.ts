import { PackedLayout, poolingWeights } from '@phsa/core'
import { computed, effect } from '@preact/signals-core'
import { byId } from './element.js'
import { METHOD_NAMES } from './method-names.js'
import { count, percent } from './numbers.js'
import type { State } from './state.js'

/** Names the chosen token, takes its position as a number, and tells screen readers what came of it. */
export function showAskedToken(state: State): void {
  const heading = byId('asked-token')
  const about = byId('asked-about')
  const input = byId('query', HTMLInputElement)
  const weights = computed(() => {
    const { blockSize, lambda } = state.settings.value
    const marks = state.document.value?.punctuation
    return marks && poolingWeights(marks, new PackedLayout([marks.length], blockSize), lambda)
  })
  const announcement = byId('announcement')
  effect(() => {
    const text = state.document.value
    if (!text) return
    const query = Math.min(state.query.value, text.texts.length - 1)
    heading.textContent = `“${text.texts[query].trim() || '↵'}” looks back`
    const block = Math.floor(query / state.settings.value.blockSize)
    const kind = text.punctuation[query] === 1 ? 'punctuation · ' : ''
    about.textContent = `${kind}token ${count(query)} · ${percent(weights.value?.[query] ?? 0)} of what stands for block ${count(block)}`
    input.disabled = false
    input.max = String(text.texts.length - 1)
    input.value = String(query)
  })
  input.addEventListener('change', () => {
    const wanted = Math.round(Number(input.value))
    const last = Number(input.max)
    state.query.value = Math.min(last, Math.max(0, Number.isFinite(wanted) ? wanted : 0))
    input.value = String(state.query.peek())
  })
  effect(() => {
    const { answer, lookBack, shown } = state
    const texts = state.document.peek()?.texts
    if (!answer.value || !lookBack.value || !texts) return
    const { query } = answer.value.question
    const { blocks, recall } = lookBack.value.choices[shown.value]
    announcement.textContent = `Token ${query}, ${texts[query]?.trim()}: ${METHOD_NAMES[shown.value]} sees ${percent(recall)} of the attention and chooses ${
      blocks.length === 0 ? 'no blocks' : `blocks ${blocks.join(', ')}`
    }.`
  })
}
