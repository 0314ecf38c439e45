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

/** One of our rows with its rates and its bars. Plain JSON. */
export interface ReportRow extends DeviceRow {
  readonly rated?: Partial<Record<Phase | 'forward' | 'both', Rated>>
  readonly against?: { readonly forward?: AgainstBar; readonly both?: AgainstBar }
}

/** `benchmarks/results/<device>.json`. Plain JSON. */
export interface DeviceReport extends Omit<DeviceResult, 'format' | 'rows'> {
  readonly format: 'phsa-device/1'
  /** Of the peers' run; absent where none was made. */
  readonly versions?: PeersResult['versions']
  readonly rates?: PeersResult['rates']
  readonly bars: readonly Bar[]
  readonly rows: readonly ReportRow[]
  readonly peers: readonly PeerRow[]
}

/** Puts our run and the peers' together: rates, shares of the floor, factors. @throws TypeError where they ran on different GPUs */
export function mergeResults(ours: DeviceResult, peers: readonly PeersResult[]): DeviceReport {
  for (const { device } of peers) {
    if (device !== deviceName(ours)) throw new TypeError(`ours ran on ${deviceName(ours)}, the peers on ${device}; give files of one run.`)
  }
  const rates = peers.at(0)?.rates
  const peerRows = peers.flatMap(({ rows }) => rows)
  const rows = ours.rows.map((row): ReportRow => {
    if (row.outcome !== 'measured' || !row.times || !row.work) return row
    return { ...row, rated: ratedTimes(row.times, row.work, rates), against: againstBars(row, peerRows) }
  })
  return {
    ...ours,
    format: 'phsa-device/1',
    ...(peers.length > 0 ? { versions: peers[0].versions, rates } : {}),
    bars: BARS,
    rows,
    peers: peerRows,
  }
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
export function denseMilliseconds(
  peers: readonly PeerRow[],
  { heads, kvHeads, length }: { readonly heads: number; readonly kvHeads: number; readonly length: number },
  passes: PeerRow['passes'],
): number | undefined {
  const isIt = ({ peer, shape, passes: of }: PeerRow) =>
    peer === 'cudnn' && of === passes && shape.heads === heads && shape.kvHeads === kvHeads && shape.length === length
  return peers.find(isIt)?.milliseconds
}
