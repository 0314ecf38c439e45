import { computed, effect } from '@preact/signals-core'
import { blocksSeen, massLevel } from './block-views.js'
import { byId, element } from './element.js'
import { moveQuery } from './query-keys.js'
import type { State } from './state.js'

/** What is drawn of a text. */
interface DrawnText {
  readonly blockSize: number
  readonly tokens: readonly HTMLElement[]
  readonly blocks: readonly HTMLElement[]
}

/** Draws the text with its blocks, and lets a token be chosen in it by pointer and keyboard. */
export function showText(state: State): void {
  const view = byId('text')
  const blockSize = computed(() => state.settings.value.blockSize)
  const drawn = computed<DrawnText | undefined>(() => {
    const text = state.document.value
    if (!text) return undefined
    const tokens = text.texts.map((piece, index) => tokenElement(piece, index, text.punctuation[index] === 1))
    const size = blockSize.value
    const blocks = Array.from({ length: Math.ceil(tokens.length / size) }, (_, block) =>
      element('span', { class: 'block', role: 'group' }, ...tokens.slice(block * size, (block + 1) * size)),
    )
    return { blockSize: size, tokens, blocks }
  })
  effect(() => {
    if (drawn.value) view.replaceChildren(...drawn.value.blocks)
  })
  effect(() => {
    if (drawn.value) showQuery(view, drawn.value, state.query.value)
  })
  effect(() => {
    const text = drawn.value
    const { answer, lookBack, shown } = state
    const question = answer.value?.question
    view.style.setProperty('--method', `var(--${shown.value})`)
    if (!text || !question || !lookBack.value || question.settings.blockSize !== text.blockSize) return
    const { mass, choices } = lookBack.value
    const seen = blocksSeen(text.tokens.length, question.query, question.settings, choices[shown.value])
    for (const [block, drawnBlock] of text.blocks.entries()) {
      drawnBlock.dataset.level = String(seen[block] === 'later' ? 0 : massLevel(mass[block]))
      drawnBlock.dataset.seen = seen[block] === 'later' ? 'no' : seen[block]
    }
  })

  view.addEventListener('click', (event) => {
    const token = (event.target as HTMLElement).closest<HTMLElement>('.token')
    if (token) state.query.value = Number(token.dataset.token)
  })
  view.addEventListener('keydown', (event) => {
    const text = drawn.peek()
    const next = text && moveQuery(event.key, state.query.peek(), text.tokens.length, text.blockSize)
    if (next === undefined) return
    event.preventDefault()
    state.query.value = next
  })
}

/** Brings a block into view within the text, not the page. */
export function scrollToBlock(block: number): void {
  const view = byId('text')
  const target = view.querySelectorAll<HTMLElement>('.block')[block]
  if (target) scrollInto(view, target)
}

function tokenElement(piece: string, index: number, isMark: boolean): HTMLElement {
  const token = element(
    'span',
    { class: isMark ? 'token mark' : 'token', role: 'option', id: `token-${index}`, 'aria-selected': 'false' },
    piece,
  )
  token.dataset.token = String(index)
  // Without a letter there is nothing to read out.
  if (piece.trim() === '') token.setAttribute('aria-label', piece.includes('\n') ? 'line break' : 'space')
  return token
}

function showQuery(view: HTMLElement, { tokens, blockSize }: DrawnText, query: number): void {
  const token = tokens[query]
  if (!token) return
  for (const old of Array.from(view.querySelectorAll('[aria-selected="true"]'))) old.setAttribute('aria-selected', 'false')
  for (const old of Array.from(view.querySelectorAll('.later'))) old.classList.remove('later')
  token.setAttribute('aria-selected', 'true')
  view.setAttribute('aria-activedescendant', token.id)
  // The rest of its own block comes after it.
  const end = (Math.floor(query / blockSize) + 1) * blockSize
  for (const later of tokens.slice(query + 1, end)) later.classList.add('later')
  scrollInto(view, token)
}

function scrollInto(view: HTMLElement, target: HTMLElement): void {
  const top = target.getBoundingClientRect().top - view.getBoundingClientRect().top
  const margin = 48
  if (top >= margin && top <= view.clientHeight - margin) return
  view.scrollTop += top - view.clientHeight / 2
}
