import type { AgainstBar, DeviceReport, Rated, ReportRow } from './merge-results.js'
import { deviceName } from './merge-results.js'
import type { PeerRow } from './peers-result.js'

/** The tables of a report as Markdown: shapes with their bars, peers, topK and length. */
export function reportTables(report: DeviceReport): string {
  const { commit, conformance, memory, versions, rates } = report
  const peers = versions ? `PyTorch ${versions.torch}, cuDNN ${versions.cudnn}, Triton ${versions.triton}` : 'no peers in this run'
  return [
    `Measured on one ${deviceName(report)}, bf16, batch 1, head dimension 128, milliseconds, median of warm runs over rotated inputs, selection included; ${peers}; commit ${commit?.slice(0, 10) ?? 'unknown'}${commit?.includes('uncommitted') ? ', with changes' : ''}. Dense is cuDNN in the same run. In brackets the bar. Data A: neighbouring queries choose some of the same blocks, as in a small trained model; S: most of the same blocks, against the same bars; B: independent random numbers.`,
    '',
    ...shapeTable(report),
    '',
    ...(rates
      ? [
          `The floor is what the counted work takes at the rates that this GPU attains: ${(rates.matrixFlops / 1e12).toFixed(0)} TFLOP/s in bf16 matrix products, ${(rates.copyBytes / 1e12).toFixed(1)} TB/s in copies. Scoring is counted a query head at a time; a kernel that adds up a group's queries first (logit) does less.`,
          '',
        ]
      : []),
    ...peerTable(report.peers),
    ...curve('Forward by length, 16/8 heads, m 16, topK 16, data A', 'L', lengthRows(report), report),
    ...curve('Forward by topK, 16/8 heads, L 32,768, data A', 'topK', topKRows(report), report),
    `${conformance.passed} cases of the conformance suite passed before${conformance.failed.length > 0 ? `, ${conformance.failed.length} FAILED: ${conformance.failed.join(', ')}` : ''}.${memory ? ` ${memory.calls.toLocaleString('en-US')} calls: device memory ${memory.flat ? 'flat' : 'NOT flat'}.` : ''}`,
  ].join('\n')
}

/** Rows of the length curve: those measured for it and those of the table that have its spec. */
export function lengthRows({ rows }: Pick<DeviceReport, 'rows'>): ReportRow[] {
  const isCurve = ({ spec, data, outcome }: ReportRow) =>
    outcome === 'measured' && data === 'A' && spec.heads === 16 && spec.kvHeads === 8 && spec.blockSize === 16 && spec.topK === 16
  return rows.filter(isCurve).sort((left, right) => left.length - right.length)
}

/** Rows of the topK curve, likewise. */
export function topKRows({ rows }: Pick<DeviceReport, 'rows'>): ReportRow[] {
  const isCurve = ({ spec, data, outcome, length }: ReportRow) =>
    outcome === 'measured' && data === 'A' && spec.heads === 16 && spec.kvHeads === 8 && spec.blockSize === 16 && length === 32768
  return rows.filter(isCurve).sort((left, right) => left.spec.topK - right.spec.topK)
}

function shapeTable({ rows }: DeviceReport): string[] {
  const head = [
    'heads, L, m, topK, score',
    'data (overlap)',
    'pool',
    'select',
    'attend',
    'forward',
    'dense',
    'faster',
    'floor',
    'with backward',
    'dense',
    'faster',
    'floor',
  ]
  const body = rows
    .filter(({ group }) => group === 'table')
    .map((row) => {
      const { spec, length, data, overlap, rated, against } = row
      const title = `${spec.heads}/${spec.kvHeads}, ${count(length)}, ${spec.blockSize}, ${spec.topK}, ${spec.score}`
      const named = `${data}${overlap === undefined ? '' : ` (${Math.round(overlap * 100)} %)`}`
      if (row.outcome !== 'measured') return [title, named, row.outcome, ...Array<string>(10).fill('')]
      return [
        title,
        named,
        ...(['pool', 'select', 'attend', 'forward'] as const).map((name) => milliseconds(rated?.[name])),
        ...barCells(against?.forward, rated?.forward),
        milliseconds(rated?.both),
        ...barCells(against?.both, rated?.both),
      ]
    })
  return markdown(head, body)
}

function barCells(against: AgainstBar | undefined, rated: Rated | undefined): string[] {
  const floor = rated?.shareOfFloor === undefined ? '' : `${Math.round(rated.shareOfFloor * 100)} %`
  if (!against) return ['', '', floor]
  const { baselineMilliseconds, factor, bar, reached } = against
  const faster = `${factor.toFixed(factor < 10 ? 1 : 0)}x (${bar}x)`
  return [number(baselineMilliseconds), reached ? `**${faster}**` : faster, floor]
}

function peerTable(peers: readonly PeerRow[]): string[] {
  const shapes = [...new Set(peers.filter(({ shape }) => shape.length !== 0).map(({ shape }) => shapeName(shape)))]
  const names = [...new Set(peers.map(({ name }) => name))]
  const body = shapes.map((shape) => [
    shape,
    ...names.map((name) => {
      const of = (passes: PeerRow['passes']) => {
        const found = peers.filter((row) => row.name === name && row.passes === passes && shapeName(row.shape) === shape)
        const figures = found.flatMap(({ milliseconds, data }) =>
          milliseconds === undefined ? [] : [`${number(milliseconds)}${found.length > 1 ? ` (${data})` : ''}`],
        )
        return figures.join(', ')
      }
      const [forward, both] = [of('forward'), of('forward + backward')]
      return both === '' ? forward : `${forward} / ${both}`
    }),
  ])
  return body.length === 0
    ? []
    : ['Peers, forward / forward and backward; the sparse ones without selection:', '', ...markdown(['heads, L', ...names], body), '']
}

function shapeName({ heads, kvHeads, length, blockSize, topK }: PeerRow['shape']): string {
  return `${heads}/${kvHeads}, ${count(length)}, m ${blockSize}, topK ${topK}`
}

function curve(title: string, axis: 'L' | 'topK', rows: readonly ReportRow[], { peers }: DeviceReport): string[] {
  const at = (row: ReportRow) => (axis === 'L' ? row.length : row.spec.topK)
  const places = [...new Set(rows.map(at))]
  if (places.length === 0) return []
  const cell = (place: number, score: string) =>
    milliseconds(rows.find((row) => at(row) === place && (row.spec.score === score || row.spec.topK === 0))?.rated?.forward)
  const dense = (place: number) => {
    const isIt = ({ peer, passes, shape }: PeerRow) =>
      peer === 'cudnn' &&
      passes === 'forward' &&
      shape.heads === 16 &&
      shape.kvHeads === 8 &&
      shape.length === (axis === 'L' ? place : 32768)
    const found = peers.find(isIt)?.milliseconds
    return found === undefined ? '' : number(found)
  }
  const body = places.map((place) => [count(place), cell(place, 'softmax'), cell(place, 'logit'), dense(place)])
  return [`${title}:`, '', ...markdown([axis, 'softmax', 'logit', 'dense (cuDNN)'], body), '']
}

function markdown(head: readonly string[], body: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...body.map(line)]
}

function milliseconds(rated: Rated | undefined): string {
  return rated ? number(rated.milliseconds) : ''
}

function number(value: number): string {
  if (value >= 100) return value.toFixed(0)
  return value >= 10 ? value.toFixed(1) : value.toFixed(2)
}

function count(value: number): string {
  return value.toLocaleString('en-US')
}
