import * as Plot from '@observablehq/plot'
import { color, policyColor } from './palette.js'
import { blockCount, blockStates, type PassageMap, type PolicyMap } from './passage-map.js'
import { markupOf, svgDocument } from './svg-document.js'

interface Cell {
  readonly block: number
  readonly query: number
  readonly fill: string
}

/** Which blocks each query sees under one policy: key blocks to the right, queries downwards. Ticks below the map mark punctuation in the text. */
export function selectionChart(passage: PassageMap, map: PolicyMap): string {
  const { tokens, punctuation, blockSize, queries } = passage
  const blocks = blockCount(passage)
  const cells: Cell[] = queries.flatMap((query, index) => {
    const fills = { forced: color.forced, selected: policyColor(map.policy), candidate: color.candidate }
    return blockStates(passage, query, map.selected[index]).flatMap((state, block) =>
      state === 'hidden' ? [] : [{ block, query, fill: fills[state] }],
    )
  })
  // A query's row reaches to the next sampled one.
  const step = queries.length > 1 ? queries[1] - queries[0] : blockSize
  const marks = [...punctuation.keys()].filter((token) => punctuation[token])
  return markupOf(
    Plot.plot({
      document: svgDocument(),
      width: 460,
      height: 430,
      marginLeft: 56,
      marginRight: 12,
      marginTop: 30,
      marginBottom: 48,
      style: { background: 'transparent', color: color.text, fontSize: '12px', fontFamily: 'inherit' },
      ariaLabel: `Blocks that queries see under ${map.policy}`,
      x: { domain: [0, blocks * blockSize], label: 'key (token position)', labelAnchor: 'center', labelArrow: 'none', ticks: 6 },
      y: { domain: [tokens.length, 0], label: 'query (token position)', labelArrow: 'none', ticks: 6 },
      color: { type: 'identity' },
      marks: [
        Plot.rect(cells, {
          x1: (cell: Cell) => cell.block * blockSize,
          x2: (cell: Cell) => (cell.block + 1) * blockSize,
          y1: 'query',
          y2: (cell: Cell) => Math.min(cell.query + step, tokens.length),
          fill: 'fill',
          inset: 0.3,
        }),
        // Marks sit on the upper edge, where causal maps are empty but for the first rows.
        Plot.tickX(marks, {
          x: (token: number) => token + 0.5,
          stroke: color.mark,
          strokeOpacity: 0.9,
          insetTop: -9,
          insetBottom: 355,
          clip: false,
        }),
      ],
    }),
  )
}
