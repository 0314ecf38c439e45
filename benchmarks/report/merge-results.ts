import type { DeviceResult, DeviceRow } from '../attention/device-result.js'
import type { Phase, Work } from '../attention/phase-work.js'
import { BARS, type Bar } from './bars.js'
import type { PeerRow, PeersResult } from './peers-result.js'

/** A time beside what it computed and moved. Plain JSON. */
export interface Rated {
  readonly milliseconds: number
  readonly deviation: number
  readonly teraflops: number
  readonly gigabytesPerSecond: number
  /** The least time by the rates that this GPU attains, over the measured one; absent where they were not measured. */
  readonly shareOfFloor?: number
}

/** A time against the bar for it. Plain JSON. */
export interface AgainstBar {
  readonly baselineMilliseconds: number
  /** How much faster than the baseline. */
  readonly factor: number
  readonly bar: number
  readonly reached: boolean
}

/** Which run a row is from. Plain JSON. */
export interface RunName {
  readonly createdAt: string
  readonly commit?: string
}

/** One of our rows with its run, its rates and its bars. Plain JSON. */
export interface ReportRow extends DeviceRow {
  readonly run: RunName
  readonly rated?: Partial<Record<Phase | 'forward' | 'both', Rated>>
  readonly against?: { readonly forward?: AgainstBar; readonly both?: AgainstBar }
}

/** A peer's row with its run. Plain JSON. */
export interface ReportPeerRow extends PeerRow {
  readonly run: RunName
}

/** One call of `bench-attention`, without its rows. Plain JSON. */
export interface ReportRun extends Omit<DeviceResult, 'format' | 'rows'> {
  /** Of the peers' run; absent where none was made. */
  readonly versions?: PeersResult['versions']
  readonly rates?: PeersResult['rates']
}

/** `benchmarks/results/<device>.json`. Plain JSON. */
export interface DeviceReport {
  readonly format: 'phsa-device/1'
  readonly device: string
  /** The earliest first. */
  readonly runs: readonly ReportRun[]
  readonly bars: readonly Bar[]
  readonly rows: readonly ReportRow[]
  readonly peers: readonly ReportPeerRow[]
}

/** What one call of `bench-attention` left in its folder. */
export interface BenchRun {
  readonly ours: DeviceResult
  readonly peers: readonly PeersResult[]
}

/**
 * Puts runs on one kind of GPU together: rates, shares of the floor, and factors against the peers of the same run, because clocks differ. Where
 * several runs planned a row, the latest that did not leave it out counts.
 * @param runs at least one
 * @throws TypeError where they ran on different GPUs
 */
export function mergeResults(runs: readonly BenchRun[]): DeviceReport {
  const sorted = [...runs].sort((left, right) => Date.parse(left.ours.createdAt) - Date.parse(right.ours.createdAt))
  const name = deviceName(sorted[0].ours)
  for (const { ours, peers } of sorted) {
    const other = [deviceName(ours), ...peers.map(({ device }) => device)].find((device) => device !== name)
    if (other !== undefined) throw new TypeError(`one file is of ${name}, another of ${other}; give runs on one kind of GPU.`)
  }
  const rows = new Map<string, ReportRow>()
  for (const row of sorted.flatMap(ratedRows)) {
    const key = JSON.stringify([row.group, row.length, row.data, row.spec])
    if (row.outcome !== 'left-out' || !rows.has(key)) rows.set(key, row)
  }
  return {
    format: 'phsa-device/1',
    device: sorted[0].ours.device,
    runs: sorted.map(reportRun),
    bars: BARS,
    rows: [...rows.values()],
    peers: sorted.flatMap(({ ours, peers }) => peers.flatMap((one) => one.rows.map((row) => ({ ...row, run: runName(ours) })))),
  }
}

function reportRun({ ours: { format: _, rows: __, ...run }, peers }: BenchRun): ReportRun {
  return peers.length === 0 ? run : { ...run, versions: peers[0].versions, rates: peers[0].rates }
}

function runName({ createdAt, commit }: DeviceResult): RunName {
  return { createdAt, ...(commit === undefined ? {} : { commit }) }
}

function ratedRows({ ours, peers }: BenchRun): ReportRow[] {
  const peerRows = peers.flatMap(({ rows }) => rows)
  const run = runName(ours)
  return ours.rows.map((row) => {
    if (row.outcome !== 'measured' || !row.times || !row.work) return { ...row, run }
    return { ...row, run, rated: ratedTimes(row.times, row.work, peers.at(0)?.rates), against: againstBars(row, peerRows) }
  })
}

/** `NVIDIA H200` of the device's description. */
export function deviceName({ device }: Pick<DeviceResult, 'device'>): string {
  return device.split(',')[0]
}

/** A file name, such as `nvidia-h200`. */
export function deviceSlug(result: Pick<DeviceResult, 'device'>): string {
  return deviceName(result)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
}

function ratedTimes(times: NonNullable<DeviceRow['times']>, work: NonNullable<DeviceRow['work']>, rates: PeersResult['rates'] | undefined) {
  const rated: Partial<Record<Phase | 'forward' | 'both', Rated>> = {}
  for (const name of ['pool', 'select', 'attend', 'backward', 'forward'] as const) {
    const timing = times[name]
    const done = work[name]
    if (timing && done) rated[name] = rate(timing.milliseconds, timing.deviation, done, rates)
  }
  const { forward, backward } = times
  if (forward && backward && work.forward && work.backward) {
    const done = { flops: work.forward.flops + work.backward.flops, bytes: work.forward.bytes + work.backward.bytes }
    rated.both = rate(forward.milliseconds + backward.milliseconds, forward.deviation + backward.deviation, done, rates)
  }
  return rated
}

function rate(milliseconds: number, deviation: number, { flops, bytes }: Work, rates: PeersResult['rates'] | undefined): Rated {
  const floor = rates && Math.max(flops / rates.matrixFlops, bytes / rates.copyBytes) * 1e3
  return {
    milliseconds,
    deviation,
    teraflops: flops / milliseconds / 1e9,
    gigabytesPerSecond: bytes / milliseconds / 1e6,
    ...(floor === undefined ? {} : { shareOfFloor: floor / milliseconds }),
  }
}

function againstBars(row: DeviceRow, peers: readonly PeerRow[]): ReportRow['against'] {
  const { spec, length, data, times } = row
  const bar = BARS.find((one) => isFor(one, row))
  if (!bar || !times?.forward) return undefined
  const baseline = (passes: PeerRow['passes']) => {
    if (bar.baseline !== 'cudnn') return passes === 'forward' ? bar.baseline.forward : bar.baseline.both
    return denseMilliseconds(peers, { ...spec, length }, passes)
  }
  const against = (milliseconds: number, passes: PeerRow['passes'], factorOfBar: number): AgainstBar | undefined => {
    const baselineMilliseconds = baseline(passes)
    if (baselineMilliseconds === undefined) return undefined
    const factor = baselineMilliseconds / milliseconds
    return { baselineMilliseconds, factor, bar: factorOfBar, reached: factor >= factorOfBar }
  }
  const { forward, backward } = times
  return {
    forward: against(forward.milliseconds, 'forward', data === 'B' ? bar.forwardB : bar.forwardA),
    ...(backward && data !== 'B' ? { both: against(forward.milliseconds + backward.milliseconds, 'forward + backward', bar.bothA) } : {}),
  }
}

function isFor(bar: Bar, { group, spec, length }: DeviceRow): boolean {
  return (
    group === 'table' &&
    bar.length === length &&
    (bar.score === undefined || bar.score === spec.score) &&
    (['heads', 'kvHeads', 'blockSize', 'topK'] as const).every((name) => bar[name] === spec[name])
  )
}

/** cuDNN's dense attention of so many heads and tokens; undefined where it was not measured. */
function denseMilliseconds(
  peers: readonly PeerRow[],
  { heads, kvHeads, length }: { readonly heads: number; readonly kvHeads: number; readonly length: number },
  passes: PeerRow['passes'],
): number | undefined {
  const isIt = ({ peer, shape, passes: of }: PeerRow) =>
    peer === 'cudnn' && of === passes && shape.heads === heads && shape.kvHeads === kvHeads && shape.length === length
  return peers.find(isIt)?.milliseconds
}
