import type { DecodeRow } from '../decode/decode-result.js'
import type { DecodeReport } from './decode-report.js'
import { count, markdown } from './table-text.js'

/** The steps of decoding of a report as a table in Markdown, one line a batch and length. */
export function decodeTable({ commit, copyBytes, rows }: DecodeReport): string {
  const places = [...new Map(rows.map((row) => [`${row.batch} ${row.length}`, row])).values()]
  const lines = places.map(({ batch, length }) => {
    const of = (dense: boolean) => rows.find((row) => row.batch === batch && row.length === length && row.dense === dense)
    const bar = of(false)?.bar
    const wanted = bar?.most ? `${bar.most.microseconds} us a layer` : bar?.least ? `${Math.round(bar.least.shareOfCopy * 100)} %` : ''
    return [
      `${batch}, ${keysOf(of(false) ?? of(true))}`,
      rateText(of(false), 'layer'),
      rateText(of(false), 'select and attend'),
      rateText(of(true), 'attend'),
      bar?.reached ? `**${wanted}**` : wanted,
    ]
  })
  const head = ['batch, keys', 'PHSA: append, select, attend', 'select and attend', 'dense', 'bar of PHSA']
  const named = `commit ${commit?.slice(0, 10) ?? 'unknown'}`
  return `Decoding by itself, one layer, 16/8 heads, caches that take turns so that nothing is in L2, ${named}; in brackets the bytes that must be read, over the time, as a share of the rate of a copy, ${(copyBytes / 1e12).toFixed(1)} TB/s. A bar that is reached is bold.\n\n${markdown(head, lines)}`
}

/** A batch is measured with room for one token more than the context has. */
function keysOf(row: DecodeRow | undefined): string {
  return row ? count(row.length - 1) : ''
}

function rateText(row: DecodeReport['rows'][number] | undefined, phase: 'layer' | 'select and attend' | 'attend'): string {
  if (row === undefined) return ''
  const rate = row.rates?.[phase]
  if (!rate) return row.outcome === 'measured' ? '' : row.outcome
  const { microseconds, shareOfCopy } = rate
  return `${microseconds.toFixed(microseconds < 100 ? 1 : 0)} us (${Math.round(shareOfCopy * 100)} %)`
}
