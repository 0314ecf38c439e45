import { color, paletteStyle, policyColor } from './palette.js'
import { blockCount, blockStates, type PassageMap } from './passage-map.js'
import { escapeMarkup } from './svg-document.js'

const CELL = { width: 43, height: 22 } as const
const LEFT = 88
const COLUMN = 74
const TOP = 66

/**
 * A passage as a grid, one row a key block and one cell a token: shading is the token's weight in the block's representative, a frame marks
 * punctuation; to the right what the shown query makes of the block. A whole SVG document, also to stand in a page.
 */
export function blockGrid(passage: PassageMap): string {
  const { blockSize, policies, mass } = passage
  const blocks = blockCount(passage)
  const columns = [...policies.map((map) => map.policy), ...(mass ? ['mass'] : [])]
  const tokensWidth = blockSize * CELL.width
  const width = LEFT + tokensWidth + 14 + Math.max(1, columns.length) * COLUMN + 10
  const height = TOP + blocks * CELL.height + 14
  const rows = Array.from({ length: blocks }, (_, block) => rowMarkup(passage, block, LEFT + tokensWidth + 14))
  return [
    `<svg class="block-grid" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="Tokens, punctuation and block weights" font-family="system-ui, sans-serif" font-size="10">`,
    `<style>${paletteStyle('.block-grid')}</style>`,
    `<rect width="${width}" height="${height}" fill="${color.background}"/>`,
    headings(passage, LEFT + tokensWidth + 14, columns),
    ...rows,
    '</svg>',
  ].join('\n')
}

function headings(passage: PassageMap, right: number, columns: readonly string[]): string {
  const { query, blockSize, tokens, lambda, source } = passage
  const where = source ? `; ${source}` : ''
  const title = `query: token ${query} ${JSON.stringify(tokens[query])} in block ${Math.floor(query / blockSize)}${where}; lambda ${lambda}`
  const names = columns.length > 0 ? columns : ['forced']
  return [
    text(8, 18, title, { size: 13, weight: 600 }),
    text(8, 38, 'Shade: weight of the token in its block’s representative. Framed: punctuation.', { fill: color.muted, size: 11.5 }),
    text(8, TOP - 7, 'block (tokens)', { fill: color.muted }),
    ...names.map((name, index) =>
      text(right + index * COLUMN + COLUMN / 2, TOP - 7, name === 'mass' ? 'dense mass' : name, {
        fill: name === 'mass' || name === 'forced' ? color.muted : policyColor(name),
        anchor: 'middle',
        weight: 600,
      }),
    ),
  ].join('\n')
}

function rowMarkup(passage: PassageMap, block: number, right: number): string {
  const { tokens, blockSize, policies, mass, queries, query } = passage
  const y = TOP + block * CELL.height
  const start = block * blockSize
  const end = Math.min(start + blockSize, tokens.length)
  const parts = [text(8, y + 15, `${block} (${start}–${end - 1})`, { fill: color.muted })]
  for (let token = start; token < end; token++) parts.push(tokenMarkup(passage, token, LEFT + (token - start) * CELL.width, y))
  const at = queries.indexOf(query)
  const states =
    policies.length > 0
      ? policies.map((map) => ({ name: map.policy, selected: map.selected[at] ?? [] }))
      : [{ name: 'forced', selected: [] }]
  for (const [index, { name, selected }] of states.entries()) {
    const state = blockStates(passage, query, selected)[block]
    parts.push(stateMarkup(state, policyColor(name), right + index * COLUMN, y))
  }
  if (mass) parts.push(massMarkup(mass[block], Math.max(...mass), right + states.length * COLUMN, y))
  return parts.join('\n')
}

function tokenMarkup({ tokens, punctuation, weights, query }: PassageMap, token: number, x: number, y: number): string {
  const mark = punctuation[token] === 1
  // Square root: a mark in a block of 16 weighs up to 17 times as much as its neighbours, which would leave those white.
  const shade = Math.min(0.85, Math.sqrt(weights[token]) * 0.9)
  const frame = token === query ? color.text : mark ? color.mark : 'none'
  return [
    `<rect x="${x + 1}" y="${y + 1}" width="${CELL.width - 2}" height="${CELL.height - 2}" rx="3" fill="${color.candidate}"/>`,
    `<rect x="${x + 1}" y="${y + 1}" width="${CELL.width - 2}" height="${CELL.height - 2}" rx="3" fill="${color.meanPool}" fill-opacity="${shade.toFixed(3)}" stroke="${frame}" stroke-width="1.6"><title>${escapeMarkup(`${JSON.stringify(tokens[token])}, weight ${weights[token].toFixed(4)}${mark ? ', punctuation' : ''}`)}</title></rect>`,
    text(x + CELL.width / 2, y + 15, shorten(tokens[token]), { anchor: 'middle', weight: mark || token === query ? 700 : 400 }),
  ].join('')
}

function stateMarkup(state: string, fill: string, x: number, y: number): string {
  if (state === 'hidden') return ''
  const colors: Readonly<Record<string, string>> = { forced: color.forced, selected: fill, candidate: color.candidate }
  const label = state === 'candidate' ? '' : state
  return [
    `<rect x="${x + 2}" y="${y + 2}" width="${COLUMN - 4}" height="${CELL.height - 4}" rx="3" fill="${colors[state]}"/>`,
    text(x + COLUMN / 2, y + 15, label, { anchor: 'middle', fill: state === 'selected' ? color.background : color.text }),
  ].join('')
}

/** A bar against the largest share of the passage, with the share itself in figures. */
function massMarkup(share: number, largest: number, x: number, y: number): string {
  const width = largest > 0 ? (share / largest) * (COLUMN - 4) : 0
  return [
    `<rect x="${x + 2}" y="${y + 2}" width="${width.toFixed(1)}" height="${CELL.height - 4}" rx="2" fill="${color.dense}" fill-opacity="0.45"/>`,
    share < 0.0005 ? '' : text(x + COLUMN - 4, y + 15, `${(share * 100).toFixed(1)}%`, { anchor: 'end' }),
  ].join('')
}

/** At most six characters, with white space that can be seen. */
function shorten(token: string): string {
  const visible = token.replace(/\n/g, '⏎').replace(/\t/g, '⇥').replace(/^ /, '').replace(/^$/, '␣')
  const characters = [...visible]
  return characters.length > 6 ? `${characters.slice(0, 5).join('')}…` : visible
}

interface TextStyle {
  readonly fill?: string
  readonly anchor?: 'start' | 'middle' | 'end'
  readonly size?: number
  readonly weight?: number
}

function text(x: number, y: number, content: string, { fill = color.text, anchor = 'start', size, weight }: TextStyle = {}): string {
  const extra = `${size ? ` font-size="${size}"` : ''}${weight ? ` font-weight="${weight}"` : ''}`
  return `<text x="${x}" y="${y}" fill="${fill}" text-anchor="${anchor}"${extra}>${escapeMarkup(content)}</text>`
}
