import { element } from '../page/element.js'

/** A table of numbers, the first column naming each row. */
export function numberTable(caption: string, head: readonly string[], rows: readonly (readonly string[])[]): HTMLTableElement {
  const headings = head.map((name) => element('th', { scope: 'col' }, name))
  const body = rows.map(([name, ...cells]) =>
    element('tr', {}, element('th', { scope: 'row' }, name), ...cells.map((cell) => element('td', {}, cell))),
  )
  return element(
    'table',
    {},
    element('caption', { class: 'unseen' }, caption),
    element('thead', {}, element('tr', {}, ...headings)),
    element('tbody', {}, ...body),
  )
}
