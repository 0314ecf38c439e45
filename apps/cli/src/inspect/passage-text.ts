import { blockStates, type PassageMap } from '../report/passage-map.js'
import { formatPercent } from '../terminal/format.js'

/** A passage for the terminal: a line a block, punctuation tokens in brackets with their weight, and what the query makes of the block. */
export function passageText(passage: PassageMap): string {
  const { tokens, blockSize, policies, queries, query, mass, source } = passage
  const at = queries.indexOf(query)
  const columns = policies.map(({ policy, selected }) => ({ policy, states: blockStates(passage, query, selected[at]) }))
  const plain = blockStates(passage, query)
  const lines = plain.map((state, block) => {
    const start = block * blockSize
    const end = Math.min(start + blockSize, tokens.length)
    const text = Array.from({ length: end - start }, (_, offset) => tokenText(passage, start + offset)).join('')
    const notes = columns.filter(({ states }) => states[block] === 'selected').map(({ policy }) => `selected by ${policy}`)
    const shown = state === 'forced' ? ['forced', ...notes] : notes
    const share = mass && state !== 'hidden' ? [`dense mass ${formatPercent(mass[block])}`] : []
    const note = [...shown, ...share].join(', ')
    return `${`${block}`.padStart(4)}  ${`${start}-${end - 1}`.padEnd(11)} ${text}${note ? `\n        ${note}` : ''}`
  })
  const head = `query: token ${query} ${JSON.stringify(tokens[query])}${source ? `, ${source}` : ''}; blocks of ${blockSize}, lambda ${passage.lambda}; [punctuation:weight]`
  return [head, ...lines].join('\n')
}

function tokenText({ tokens, punctuation, weights }: PassageMap, token: number): string {
  const visible = tokens[token].replace(/\n/g, '⏎').replace(/\t/g, '⇥')
  return punctuation[token] ? `[${visible}:${weights[token].toFixed(2)}]` : visible
}
