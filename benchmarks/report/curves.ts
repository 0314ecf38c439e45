import type { DeviceReport, ReportRow } from './merge-results.js'
import type { PeerRow } from './peers-result.js'

/** cuDNN's dense attention at one place of a curve. */
export interface DensePoint {
  readonly place: number
  readonly milliseconds: number
}

/** The forward pass over one axis, of one run. */
export interface Curve {
  /** Where rows were measured, ascending; none where there are fewer than two, which are no curve. */
  readonly places: readonly number[]
  /** A row's place. */
  readonly at: (row: ReportRow) => number
  readonly rows: readonly ReportRow[]
  /** cuDNN in the same run, also where nothing else was measured. */
  readonly dense: readonly DensePoint[]
}

const HEADS = { heads: 16, kvHeads: 8 } as const
/** Tokens of the topK curve. */
const LENGTH = 32768

/** By length at topK 16: rows measured for it and those of the table that have its spec. */
export function lengthCurve(report: DeviceReport): Curve {
  return curveOf(
    report,
    ({ spec }) => spec.topK === 16,
    ({ length }) => length,
    (_, dense) => dense.map(({ length, milliseconds }) => ({ place: length, milliseconds })),
  )
}

/** By topK at 32,768 tokens, likewise. */
export function topKCurve(report: DeviceReport): Curve {
  return curveOf(
    report,
    ({ length }) => length === LENGTH,
    ({ spec }) => spec.topK,
    (places, dense) =>
      places.flatMap((place) => dense.filter(({ length }) => length === LENGTH).map(({ milliseconds }) => ({ place, milliseconds }))),
  )
}

/** Of the run that has the most places: clocks differ from run to run, and a curve across two would have a step. */
function curveOf(
  { runs, rows, peers }: DeviceReport,
  isOn: (row: ReportRow) => boolean,
  at: Curve['at'],
  densePoints: (places: readonly number[], dense: readonly DenseTime[]) => DensePoint[],
): Curve {
  const isShape = ({ spec, data, rated }: ReportRow) =>
    rated?.forward !== undefined && data === 'A' && spec.heads === HEADS.heads && spec.kvHeads === HEADS.kvHeads && spec.blockSize === 16
  const found = rows.filter((row) => isShape(row) && isOn(row)).sort((left, right) => at(left) - at(right))
  const curves = runs.map(({ createdAt }) => {
    const own = found.filter(({ run }) => run.createdAt === createdAt)
    const places = [...new Set(own.map(at))]
    return { places, at, rows: own, dense: densePoints(places, denseTimes(peers.filter(({ run }) => run.createdAt === createdAt))) }
  })
  const [most] = curves.sort((left, right) => right.places.length - left.places.length)
  return most.places.length < 2 ? { ...most, places: [], rows: [], dense: [] } : most
}

interface DenseTime {
  readonly length: number
  readonly milliseconds: number
}

function denseTimes(peers: readonly PeerRow[]): DenseTime[] {
  const isDense = ({ peer, passes, shape }: PeerRow) =>
    peer === 'cudnn' && passes === 'forward' && shape.heads === HEADS.heads && shape.kvHeads === HEADS.kvHeads
  return peers
    .filter(isDense)
    .flatMap(({ shape, milliseconds }) => (milliseconds === undefined ? [] : [{ length: shape.length, milliseconds }]))
    .sort((left, right) => left.length - right.length)
}
