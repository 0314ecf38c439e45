import { rowName } from '../serve/serve-plan.js'
import type { ServeResult, ServeRow } from '../serve/serve-result.js'
import { deviceName } from './merge-results.js'

/** One way to do it in PyTorch, as `peers/serve.py` writes it. Plain JSON. */
export interface ServePeerRow {
  readonly what: 'step' | 'first token'
  readonly context: number
  readonly batch: number
  readonly attention: string
  readonly compiled: boolean
  readonly milliseconds?: number
  readonly deviation?: number
  readonly samples?: readonly number[]
  /** Why there is no figure. */
  readonly skipped?: string
}

/** The result file of `peers/serve.py`. Plain JSON. */
export interface ServePeersResult {
  readonly format: 'phsa-serve-peers/1'
  readonly device: string
  readonly versions: Readonly<Record<string, string | number>>
  readonly rows: readonly ServePeerRow[]
}

/** What one call of `bench-serve` left in its folder. */
export interface ServeRun {
  readonly ours: ServeResult
  /** Absent where there was no PyTorch. */
  readonly peers?: ServePeersResult
}

/** `benchmarks/results/<device>-serve.json`. Plain JSON. */
export interface ServeReport {
  readonly format: 'phsa-serve-report/1'
  /** The earliest first. */
  readonly runs: readonly ServeRun[]
}

/** A row that was measured, with its run. */
export type MeasuredServeRow = Extract<ServeRow, { outcome: 'measured' }> & { readonly run: ServeRun }

/** Puts runs together. @param runs at least one @throws TypeError where they ran on different GPUs */
export function serveReport(runs: readonly ServeRun[]): ServeReport {
  const sorted = [...runs].sort((left, right) => Date.parse(left.ours.createdAt) - Date.parse(right.ours.createdAt))
  const name = deviceName(sorted[0].ours)
  for (const { ours, peers } of sorted) {
    const other = [deviceName(ours), ...(peers ? [peers.device] : [])].find((device) => device !== name)
    if (other !== undefined) throw new TypeError(`one file is of ${name}, another of ${other}; give runs on one kind of GPU.`)
  }
  return { format: 'phsa-serve-report/1', runs: sorted }
}

/** The measured rows, of each the latest, in the order of the plan. */
export function measuredServeRows({ runs }: ServeReport): MeasuredServeRow[] {
  const rows = new Map<string, MeasuredServeRow>()
  for (const run of runs) {
    for (const row of run.ours.rows) if (row.outcome === 'measured') rows.set(rowName(row), { ...row, run })
  }
  return [...rows.values()].sort((left, right) => left.context - right.context || left.batch - right.batch)
}

/** Of all ways in PyTorch, in all runs, the one that took least: our factors are no larger than within a run. Undefined where none was measured. */
export function fastestServePeer({ runs }: ServeReport, what: ServePeerRow['what'], context: number, batch: number): number | undefined {
  const times = runs
    .flatMap(({ peers }) => peers?.rows ?? [])
    .flatMap((row) => (row.what === what && row.context === context && row.batch === batch ? (row.milliseconds ?? []) : []))
  return times.length === 0 ? undefined : Math.min(...times)
}
