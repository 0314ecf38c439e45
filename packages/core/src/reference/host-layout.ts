/** Floating-point elements on the host. Kernels read either and compute in float64. */
export type Reals = Float32Array | Float64Array

/** `Layout` with its tensors read: capacities and starts (see there). */
export interface HostLayout {
  readonly sequences: number
  readonly queryTokens: number
  readonly keyTokens: number
  readonly blocks: number
  readonly maxBlocks: number
  readonly queryStarts: Int32Array
  readonly keyStarts: Int32Array
  readonly blockStarts: Int32Array
}

/** Where a row of q stands. */
export interface QueryRow {
  readonly row: number
  /** Position in its sequence. */
  readonly position: number
  /** Row of its sequence's first key. */
  readonly keyStart: number
  /** First block of its sequence in the representatives. */
  readonly blockStart: number
}

/** The query rows that belong to a sequence; rows past the last start are left out. */
export function* queryRows(layout: HostLayout): Generator<QueryRow> {
  for (let sequence = 0; sequence < layout.sequences; sequence++) {
    for (let row = layout.queryStarts[sequence]; row < layout.queryStarts[sequence + 1]; row++) yield rowOf(layout, sequence, row)
  }
}

/** One query row, or undefined for -1 and for rows past the last start. */
export function findQueryRow(layout: HostLayout, row: number): QueryRow | undefined {
  for (let sequence = 0; sequence < layout.sequences; sequence++) {
    if (row >= layout.queryStarts[sequence] && row < layout.queryStarts[sequence + 1]) return rowOf(layout, sequence, row)
  }
  return undefined
}

/** Queries are the last tokens of their sequence. */
function rowOf({ queryStarts, keyStarts, blockStarts }: HostLayout, sequence: number, row: number): QueryRow {
  const queries = queryStarts[sequence + 1] - queryStarts[sequence]
  const keys = keyStarts[sequence + 1] - keyStarts[sequence]
  return {
    row,
    position: keys - queries + row - queryStarts[sequence],
    keyStart: keyStarts[sequence],
    blockStart: blockStarts[sequence],
  }
}
