import { effect } from '@preact/signals-core'
import type { AttentionSettings } from '../lab-contract.js'
import { byId, element } from './element.js'
import { count } from './numbers.js'
import type { State } from './state.js'
import { BLOCK_SIZES, trainedSettings, withBlockSize } from './trained-settings.js'

/** A slider: its places, and what each means. */
interface SliderPlan {
  readonly id: string
  readonly label: string
  readonly ends: readonly [string, string]
  /** Number of places, counted from 0. */
  places(settings: AttentionSettings): number
  placeOf(settings: AttentionSettings): number
  settingsAt(place: number, settings: AttentionSettings): AttentionSettings
  words(settings: AttentionSettings): string
}

const LOCAL_TOKENS = [16, 32, 64, 128, 256, 512, 1024]
const LAMBDA_STEPS = 20
const MOST_CHOSEN = 32

/** Windows of at least a block. */
const localSizes = ({ blockSize }: AttentionSettings) => LOCAL_TOKENS.filter((tokens) => tokens >= blockSize)

const PLANS: readonly SliderPlan[] = [
  {
    id: 'top-k',
    label: 'Blocks chosen',
    ends: ['none', `${MOST_CHOSEN}`],
    places: () => MOST_CHOSEN + 1,
    placeOf: ({ topK }) => topK,
    settingsAt: (topK, settings) => ({ ...settings, topK }),
    words: ({ topK }) => `${topK}`,
  },
  {
    id: 'lambda',
    label: 'Lambda',
    ends: ['punctuation alone', 'plain mean'],
    places: () => LAMBDA_STEPS + 1,
    placeOf: ({ lambda }) => Math.round(lambda * LAMBDA_STEPS),
    settingsAt: (place, settings) => ({ ...settings, lambda: place / LAMBDA_STEPS }),
    words: ({ lambda }) => lambda.toFixed(2),
  },
  {
    id: 'block-size',
    label: 'Block size',
    ends: ['fine', 'coarse'],
    places: () => BLOCK_SIZES.length,
    placeOf: ({ blockSize }) => BLOCK_SIZES.indexOf(blockSize),
    settingsAt: (place, settings) => withBlockSize(settings, BLOCK_SIZES[place]),
    words: ({ blockSize }) => `${blockSize} tokens`,
  },
  {
    id: 'local',
    label: 'Local window',
    ends: ['near', 'wide'],
    places: (settings) => localSizes(settings).length,
    placeOf: (settings) =>
      Math.max(
        0,
        localSizes(settings).findLastIndex((tokens) => tokens <= settings.localTokens),
      ),
    settingsAt: (place, settings) => ({ ...settings, localTokens: localSizes(settings)[place] }),
    words: ({ localTokens }) => `${count(localTokens)} tokens`,
  },
]

/** The sliders, and the button that puts them back to what the model was trained with. */
export function showSliders({ settings, lab, document }: State): void {
  for (const plan of PLANS) byId('sliders').append(slider(plan, settings, document))
  const reset = byId('reset', HTMLButtonElement)
  effect(() => {
    reset.disabled = !lab.value
  })
  reset.addEventListener('click', () => {
    const found = lab.peek()
    if (found) settings.value = trainedSettings(found)
  })
}

function slider(plan: SliderPlan, settings: State['settings'], document: State['document']): HTMLElement {
  const input = element('input', { type: 'range', id: plan.id, min: '0', step: '1' })
  const output = element('output', { for: plan.id })
  input.addEventListener('input', () => {
    settings.value = plan.settingsAt(Number(input.value), settings.peek())
  })
  effect(() => {
    const now = settings.value
    const last = plan.places(now) - 1
    input.max = String(last)
    input.value = String(plan.placeOf(now))
    input.style.setProperty('--fill', `${(100 * plan.placeOf(now)) / last}%`)
    input.setAttribute('aria-valuetext', plan.words(now))
    output.textContent = plan.words(now)
  })
  effect(() => {
    input.disabled = !document.value
  })
  const [low, high] = plan.ends
  return element(
    'div',
    { class: 'slider' },
    element('label', { for: plan.id }, plan.label),
    output,
    input,
    element('small', { 'aria-hidden': 'true' }, element('span', {}, low), element('span', {}, high)),
  )
}
