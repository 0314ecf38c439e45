import type { DemoResults } from '../../apps/cli/src/demo/demo-results.js'
import { rowName } from '../../apps/cli/src/demo/demo-text.js'
import { formatCount, formatPercent, formatSeconds } from '../../apps/cli/src/terminal/format.js'

/** What `phsa demo` found on some machines, as Markdown. @param runs the shortest document first, each with its file */
export function demoTable(runs: readonly { readonly file: string; readonly results: DemoResults }[]): string {
  const rows = runs.flatMap(({ results }) =>
    results.rows.map((row, index) => {
      const cells = [
        index === 0 ? formatCount(results.document.tokens) : '',
        rowName(row, results.phsa.topK),
        formatSeconds(row.promptSeconds),
        formatSeconds(row.tokenSeconds),
        row.perplexity.toFixed(2),
        formatPercent(row.sparsity),
      ]
      return `| ${cells.join(' | ')} |`
    }),
  )
  return [
    '| tokens | | prompt | a new token | perplexity | sparsity |\n| ---: | --- | ---: | ---: | ---: | ---: |',
    ...rows,
    '',
    runs.map(({ file, results }) => `${formatCount(results.document.tokens)} tokens: ${placeOf(results)} (\`${file}\`).`).join(' '),
  ].join('\n')
}

function placeOf({ backend, device, dtype, machine, load }: DemoResults): string {
  const computer =
    backend === 'cuda'
      ? device.split(',')[0]
      : `${machine.cores} cores of an ${machine.cpu.replace(/\((R|TM)\)/g, '')}, load ${load[0].toFixed(1)} before`
  return `\`${backend}\` in ${dtype} on ${computer}`
}
