import { activatedTokens, attentionCost, attentionSpec, exactCounts, phsaConfig, sparsity } from '@phsa/core'
import { effect } from '@preact/signals-core'
import type { AttentionSettings, LabDescription } from '../lab-contract.js'
import { byId, element } from './element.js'
import { count, percent, significant } from './numbers.js'
import type { State } from './state.js'

/** A length at which the saving shows, whatever text is open. */
const LONG = 32_768
const LONG_SPARSITY = 'Sparsity at 32k'
const LONG_FLOPS = 'FLOPs at 32k'

/** What the settings save: sparsity and FLOPs of one layer, at the length of the text and at a long one. */
export function showCost({ settings, lab, document }: State): void {
  const list = byId('cost')
  effect(() => {
    const tokens = document.value?.texts.length
    const found = lab.value
    if (tokens === undefined || !found) {
      list.replaceChildren(...emptyRows())
      return
    }
    const { seen, share, sparse, dense } = costAt(settings.value, found, tokens)
    const long = costAt(settings.value, found, LONG)
    list.replaceChildren(
      ...row('Sparsity', percent(sparsity(settings.value, tokens)), 'headline'),
      ...row('Last token sees', `${count(seen)} of ${count(tokens)}`),
      ...row('FLOPs of dense', percent(share), 'headline'),
      bar(share),
      ...row('One layer, GFLOP', `${significant(sparse / 1e9)} of ${significant(dense / 1e9)}`),
      ...row(LONG_SPARSITY, percent(sparsity(settings.value, LONG))),
      ...row(LONG_FLOPS, percent(long.share)),
    )
  })
}

function costAt(settings: AttentionSettings, { phsa, ...heads }: LabDescription, tokens: number) {
  const config = phsaConfig({ ...settings, representatives: 1, score: 'softmax' }, phsa)
  const spec = { ...attentionSpec(config, { ...heads, dtype: 'f32' }), denseBelow: 0 }
  const { share, totalFlops, denseFlops } = attentionCost(spec, exactCounts(spec, [tokens]))
  return { seen: Math.min(tokens, activatedTokens(spec)), share, sparse: totalFlops, dense: denseFlops }
}

function row(term: string, value: string, kind = ''): HTMLElement[] {
  return [element('dt', { class: kind }, term), element('dd', { class: kind }, value)]
}

/** As high as the rows that will come. */
function emptyRows(): HTMLElement[] {
  const terms = ['Sparsity', 'Last token sees', 'FLOPs of dense']
  return [
    ...terms.flatMap((term) => row(term, '–')),
    bar(0),
    ...['One layer, GFLOP', LONG_SPARSITY, LONG_FLOPS].flatMap((term) => row(term, '–')),
  ]
}

/** A description list holds its groups alone: the bar is part of one. */
function bar(share: number): HTMLElement {
  const drawn = element('dd', { class: 'cost-bar', 'aria-hidden': 'true' })
  drawn.style.setProperty('--share', percent(Math.min(1, share)).replace(' ', ''))
  return drawn
}
