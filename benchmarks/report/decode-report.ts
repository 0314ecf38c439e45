import type { DecodePhase, DecodeResult, DecodeRow } from '../decode/decode-result.js'

/** A time of a step of decoding beside what it read. Plain JSON. */
export interface DecodeRate {
  readonly microseconds: number
  readonly gigabytesPerSecond: number
  /** Over the rate of a copy within the GPU's memory, 0 to 1. */
  readonly shareOfCopy: number
}

/** What a row had to reach. Plain JSON. */
export interface DecodeBar {
  readonly phase: DecodePhase
  readonly most?: { readonly microseconds: number }
  readonly least?: { readonly shareOfCopy: number }
  readonly reached: boolean
}

/** `benchmarks/results/<device>-decode.json`. Plain JSON. */
export interface DecodeReport extends Omit<DecodeResult, 'format' | 'rows'> {
  readonly format: 'phsa-decode-report/1'
  readonly rows: readonly (DecodeRow & { readonly rates?: Partial<Record<DecodePhase, DecodeRate>>; readonly bar?: DecodeBar })[]
}

/** Microseconds of a layer for one sequence, by the keys that it may have. */
const ONE_SEQUENCE = [
  { tokens: 32768, microseconds: 15 },
  { tokens: 131072, microseconds: 25 },
]
const LEAST_SHARE = 0.6

/** Adds to each row its rates and its bar. */
export function decodeReport({ rows, ...result }: DecodeResult): DecodeReport {
  return { ...result, format: 'phsa-decode-report/1', rows: rows.map((row) => rated(row, result.copyBytes)) }
}

function rated(row: DecodeRow, copyBytes: number): DecodeReport['rows'][number] {
  const { times, bytes } = row
  if (!times || !bytes) return row
  const rates: Partial<Record<DecodePhase, DecodeRate>> = {}
  for (const phase of Object.keys(times) as DecodePhase[]) {
    const { milliseconds } = times[phase] ?? { milliseconds: Number.NaN }
    const rate = (1e3 * (bytes[phase] ?? Number.NaN)) / milliseconds
    rates[phase] = { microseconds: 1e3 * milliseconds, gigabytesPerSecond: rate / 1e9, shareOfCopy: rate / copyBytes }
  }
  const bar = barOf(row, rates)
  return { ...row, rates, ...(bar === undefined ? {} : { bar }) }
}

function barOf({ batch, length, dense }: DecodeRow, rates: Partial<Record<DecodePhase, DecodeRate>>): DecodeBar | undefined {
  const phase: DecodePhase = dense ? 'attend' : batch === 1 ? 'layer' : 'select and attend'
  const rate = rates[phase]
  if (!rate) return undefined
  if (dense || batch > 1) return { phase, least: { shareOfCopy: LEAST_SHARE }, reached: rate.shareOfCopy >= LEAST_SHARE }
  const most = ONE_SEQUENCE.find(({ tokens }) => Math.abs(length - tokens) <= 1)
  return most && { phase, most: { microseconds: most.microseconds }, reached: rate.microseconds <= most.microseconds }
}
