import { paletteStyle } from './palette.js'
import { escapeMarkup } from './svg-document.js'

/** Drawings shrink with the page down to a phone's width; wide tables and grids scroll inside their box instead of the page. */
const STYLE = `
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif;-webkit-text-size-adjust:100%}
main{max-width:1080px;margin:0 auto;padding:20px 16px 60px}
h1{font-size:1.7rem;line-height:1.2;margin:.4em 0}h2{font-size:1.2rem;margin:2em 0 .4em;border-bottom:1px solid var(--grid);padding-bottom:.25em}
h1,h2,p,strong,figcaption{overflow-wrap:anywhere}p{max-width:46em}.muted{color:var(--muted);font-size:.92rem}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:20px}
figure{margin:0;min-width:0}figure svg{display:block;width:100%;height:auto;max-width:620px;overflow:visible}
figcaption{color:var(--muted);font-size:.9rem;margin-top:4px}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:.9rem;margin:8px 0}.legend span{white-space:nowrap}
.legend svg{width:14px;height:14px;vertical-align:-2px;margin-right:5px}
.scroll{overflow-x:auto;width:fit-content;max-width:100%;border:1px solid var(--grid);border-radius:8px}.scroll svg{display:block;max-width:none;width:auto;height:auto}.figures+.scroll{margin-top:16px}
.scroll pre{margin:0;padding:10px 12px}
table{border-collapse:collapse;font-size:.93rem;font-variant-numeric:tabular-nums}th,td{padding:5px 12px;text-align:right;border-bottom:1px solid var(--grid);white-space:nowrap}
tbody tr:last-child>*{border-bottom:0}.wraps td{white-space:normal;overflow-wrap:anywhere}
th:first-child,td:first-child{text-align:left}thead th{color:var(--muted);font-weight:600}
.note{background:var(--surface);border-radius:8px;padding:.8em 1em}
`

/** A page that needs nothing besides itself: styles and drawings inside, no scripts, no fonts to fetch. @param body markup */
export function htmlPage(title: string, body: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeMarkup(title)}</title>
<style>${paletteStyle(':root')}${STYLE}</style>
</head>
<body>
<main>
${body}
</main>
</body>
</html>
`
}

/** A drawing with what it shows in words. */
export function figure(drawing: string, caption: string, title?: string): string {
  const heading = title ? `<strong>${escapeMarkup(title)}</strong>` : ''
  return `<figure>${heading}${drawing}<figcaption>${escapeMarkup(caption)}</figcaption></figure>`
}

/** A table; the first column is text, the others numbers. @param wraps for few columns with words in them: a phone shows all of it without scrolling */
export function htmlTable(header: readonly string[], rows: readonly (readonly string[])[], wraps = false): string {
  const heads = header.map((cell) => `<th scope="col">${escapeMarkup(cell)}</th>`).join('')
  const lines = rows.map((row) => `<tr>${row.map((cell) => `<td>${escapeMarkup(cell)}</td>`).join('')}</tr>`).join('\n')
  return `<div class="scroll" tabindex="0"><table${wraps ? ' class="wraps"' : ''}><thead><tr>${heads}</tr></thead><tbody>\n${lines}\n</tbody></table></div>`
}

export interface LegendEntry {
  readonly label: string
  readonly fill: string
  readonly shape: 'square' | 'dash' | 'tick' | 'frame'
}

/** A legend that wraps on narrow pages. */
export function legend(entries: readonly LegendEntry[]): string {
  const shapes: Readonly<Record<LegendEntry['shape'], string>> = {
    square: '<rect x="2" y="2" width="10" height="10"/>',
    dash: '<path d="M0 6h5v2h-5z M9 6h5v2h-5z"/>',
    tick: '<rect x="6" y="1" width="2" height="12"/>',
    frame: '<path fill-rule="evenodd" d="M1 1h12v12h-12z M3 3h8v8h-8z"/>',
  }
  const items = entries.map(
    ({ label, fill, shape }) =>
      `<span><svg viewBox="0 0 14 14" fill="${fill}" aria-hidden="true">${shapes[shape]}</svg>${escapeMarkup(label)}</span>`,
  )
  return `<div class="legend">${items.join('')}</div>`
}
