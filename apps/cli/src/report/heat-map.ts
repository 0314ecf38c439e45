import { color } from './palette.js'
import { escapeMarkup } from './svg-document.js'

/** Values over two axes, as a drawing and as a table. */
export interface HeatMap {
  /** What is shown, of what. */
  readonly title: string
  /** Names of the axes. */
  readonly rowAxis: string
  readonly columnAxis: string
  readonly rows: readonly string[]
  readonly columns: readonly string[]
  /** [rows][columns]; null where there is nothing to show. */
  readonly cells: readonly (readonly (HeatCell | null)[])[]
}

/** One value of a heat map. */
export interface HeatCell {
  /** How dark, 0 to 1. */
  readonly shade: number
  /** Written into the cell. */
  readonly text: string
  /** Written into the table instead, where more is known: an interval, for instance. */
  readonly detail?: string
}

const CELL = { width: 54, height: 26 } as const
const LEFT = 74
const TOP = 46
/** Text keeps its contrast on the darkest cell, on light pages and on dark ones. */
const DARKEST = 0.5

/** The map as a drawing; `heatTable` says the same to who cannot see it. */
export function heatDrawing({ title, rowAxis, columnAxis, rows, columns, cells }: HeatMap): string {
  const width = LEFT + columns.length * CELL.width + 8
  const height = TOP + rows.length * CELL.height + 8
  const text = (x: number, y: number, content: string, anchor: string, fill: string = color.text) =>
    `<text x="${x}" y="${y}" text-anchor="${anchor}" fill="${fill}">${escapeMarkup(content)}</text>`
  const center = (column: number) => LEFT + (column + 0.5) * CELL.width
  return [
    `<svg viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escapeMarkup(`${title}; the table beside it has the numbers`)}" font-family="system-ui, sans-serif" font-size="11">`,
    text(LEFT, 14, `${columnAxis} →`, 'start', color.muted),
    text(LEFT - 8, TOP - 8, `${rowAxis} ↓`, 'end', color.muted),
    ...columns.map((name, column) => text(center(column), TOP - 8, name, 'middle', color.muted)),
    ...rows.flatMap((name, row) => {
      const y = TOP + row * CELL.height
      return [
        text(LEFT - 8, y + 17, name, 'end', color.muted),
        ...cells[row].map((cell, column) => {
          const x = LEFT + column * CELL.width
          const place = `x="${x + 1}" y="${y + 1}" width="${CELL.width - 2}" height="${CELL.height - 2}" rx="3"`
          if (!cell) return `<rect ${place} fill="none" stroke="${color.grid}"/>`
          const shade = (DARKEST * Math.min(1, Math.max(0, cell.shade))).toFixed(3)
          return `<rect ${place} fill="${color.candidate}"/><rect ${place} fill="${color.meanPool}" fill-opacity="${shade}"/>${text(center(column), y + 17, cell.text, 'middle')}`
        }),
      ]
    }),
    '</svg>',
  ].join('\n')
}

/** The map as a table with headings for every row and column; it takes the focus, so that a keyboard can scroll it. */
export function heatTable({ title, rowAxis, columnAxis, rows, columns, cells }: HeatMap): string {
  const heading = (name: string, scope: 'row' | 'col') => `<th scope="${scope}">${escapeMarkup(name)}</th>`
  const lines = rows.map((name, row) => {
    const values = cells[row].map((cell) => `<td>${cell ? escapeMarkup(cell.detail ?? cell.text) : '–'}</td>`)
    return `<tr>${heading(name, 'row')}${values.join('')}</tr>`
  })
  return `<div class="scroll" role="region" tabindex="0" aria-label="${escapeMarkup(title)}"><table><caption>${escapeMarkup(title)}</caption><thead><tr>${heading(`${rowAxis} \\ ${columnAxis}`, 'col')}${columns.map((name) => heading(name, 'col')).join('')}</tr></thead><tbody>
${lines.join('\n')}
</tbody></table></div>`
}

/** Drawing and table in one figure. */
export function heatFigure(map: HeatMap): string {
  return `<figure class="heat"><strong>${escapeMarkup(map.title)}</strong><div class="scroll" role="region" tabindex="0" aria-label="${escapeMarkup(`${map.title}, drawing`)}">${heatDrawing(map)}</div>
<details><summary>The numbers as a table</summary>${heatTable(map)}</details></figure>`
}
