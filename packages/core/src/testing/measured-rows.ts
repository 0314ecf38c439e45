import type { PackedLayout } from '../packed-layout.js'
import { RandomStream } from '../random-stream.js'

/** Query rows for block masses: about a third of all and the last one of each sequence, each once, in no order, with -1 in between. */
export function measuredRows(layout: PackedLayout, seed: number): Int32Array {
  const random = new RandomStream(seed)
  const rows: number[] = []
  for (let sequence = 0; sequence < layout.sequences; sequence++) {
    const end = layout.queryStarts[sequence + 1]
    for (let row = layout.queryStarts[sequence]; row < end; row++) if (row === end - 1 || random.below(3) === 0) rows.push(row)
  }
  for (let index = rows.length - 1; index > 0; index--) {
    const other = random.below(index + 1)
    const row = rows[index]
    rows[index] = rows[other]
    rows[other] = row
  }
  rows.splice(Math.floor(rows.length / 2), 0, -1)
  return Int32Array.from([...rows, -1])
}
