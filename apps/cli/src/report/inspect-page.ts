import { blockGrid } from './block-grid.js'
import { figure, htmlPage, type LegendEntry, legend } from './html-page.js'
import { color, policyColor } from './palette.js'
import type { PassageMap } from './passage-map.js'
import { selectionChart } from './selection-chart.js'
import { escapeMarkup } from './svg-document.js'

/** The page of `phsa inspect --out FILE.html`. @param name of the text */
export function inspectPage(name: string, passage: PassageMap): string {
  const marks = passage.punctuation.reduce((sum, mark) => sum + mark, 0)
  const share = ((100 * marks) / passage.tokens.length).toFixed(1)
  return htmlPage(
    `PHSA: ${name}`,
    `<h1>${escapeMarkup(name)}</h1>
<p>${passage.tokens.length} tokens, ${marks} of them punctuation (${share} %), in blocks of ${passage.blockSize}; ${passage.initTokens} initial and ${passage.localTokens} local tokens are always seen.</p>
${passage.source ? selection(passage) : `<p class="note">${escapeMarkup(NO_MODEL)}</p>`}
<h2>Token by token</h2>
<p>Dense mass is the attention probability that a block would get from the query if nothing were left out. The grid scrolls sideways.</p>
<div class="scroll">${blockGrid(passage)}</div>`,
  )
}

/** Said wherever a passage is shown without a model. */
export const NO_MODEL =
  'Without a model there are no queries and keys, so nothing can be selected: shown are tokens, punctuation, block weights and the forced blocks. Give --model for the rest.'

function selection(passage: PassageMap): string {
  const entries: LegendEntry[] = [
    { label: 'forced', fill: color.forced, shape: 'square' },
    ...passage.policies.map((map): LegendEntry => ({ label: `selected by ${map.policy}`, fill: policyColor(map.policy), shape: 'square' })),
    { label: 'not seen', fill: color.candidate, shape: 'square' },
    { label: 'punctuation', fill: color.mark, shape: 'tick' },
  ]
  const charts = passage.policies.map((map) =>
    figure(selectionChart(passage, map), 'Each row is a query, each column a key block.', map.policy),
  )
  return `<h2>What queries select</h2>
<p>topK ${passage.topK}, ${escapeMarkup(passage.source ?? '')}.</p>
${legend(entries)}<div class="figures">${charts.join('\n')}</div>`
}
