/** Replaces what stands between the markers `<!-- NAME:start -->` and `<!-- NAME:end -->`. @throws TypeError where the text has none */
export function replaceSection(text: string, name: string, content: string): string {
  const [start, end] = [`<!-- ${name}:start -->`, `<!-- ${name}:end -->`]
  const from = text.indexOf(start)
  const to = text.indexOf(end)
  if (from < 0 || to < from) throw new TypeError(`there is no section ${start} ... ${end}; put both markers where the tables belong.`)
  return `${text.slice(0, from + start.length)}\n${content.trim()}\n${text.slice(to)}`
}
