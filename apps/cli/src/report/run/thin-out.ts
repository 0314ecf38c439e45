/** A point of a curve. */
export interface CurvePoint {
  readonly step: number
  readonly value: number
}

/**
 * At most about twice as many points as buckets, with every peak still there: of each bucket of steps the least and the largest value, in their order.
 * Points that are not finite are left out.
 * @param points by step, ascending
 */
export function thinOut(points: readonly CurvePoint[], buckets = 300): CurvePoint[] {
  const finite = points.filter(({ value }) => Number.isFinite(value))
  if (finite.length <= 2 * buckets) return finite
  const first = finite[0].step
  const width = (finite[finite.length - 1].step - first + 1) / buckets
  const kept: CurvePoint[] = []
  let start = 0
  while (start < finite.length) {
    const bucket = Math.floor((finite[start].step - first) / width)
    let end = start
    let least = start
    let most = start
    for (; end < finite.length && Math.floor((finite[end].step - first) / width) === bucket; end++) {
      if (finite[end].value < finite[least].value) least = end
      if (finite[end].value > finite[most].value) most = end
    }
    kept.push(finite[Math.min(least, most)])
    if (least !== most) kept.push(finite[Math.max(least, most)])
    start = end
  }
  return kept
}
