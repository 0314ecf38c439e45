import { type Curve, lengthCurve, topKCurve } from './curves.js'
import { type AgainstBar, type DeviceReport, deviceName, type Rated, type ReportRun, type RunName } from './merge-results.js'
import type { PeerRow } from './peers-result.js'
import { count, markdown, number } from './table-text.js'

/** The tables of a report as Markdown: shapes with their bars, peers, topK and length. */
export function reportTables(report: DeviceReport): string {
  const { runs } = report
  const each = (text: (run: ReportRun) => string, between = '; ') => [...new Set(runs.map(text))].join(between)
  const tableRuns = runs.filter((run) =>
    report.rows.some((row) => row.group === 'table' && row.rated && row.run.createdAt === run.createdAt),
  )
  const rates = tableRuns.flatMap((run) => (run.rates ? [run.rates] : []))
  return [
    `Measured on one ${deviceName(report)}, bf16, batch 1, head dimension 128, milliseconds, median of warm runs over rotated inputs, selection included; ${each(peersName)}; ${each(commitName)}. Dense is cuDNN in the same run, but for 32/2 heads, where 15.8 and 102 ms are of the InfLLM v2 kernel without selection, measured earlier on an H100. In brackets the bar. Data A: neighbouring queries choose some of the same blocks, as in a small trained model; S: most of the same blocks, against the same bars; B: independent random numbers.`,
    '',
    shapeTable(report),
    '',
    ...(rates.length > 0
      ? [
          `The floor is what the counted work takes at the rates that this GPU attains: ${rates.map(ratesText).join('; ')}. Scoring is counted a query head at a time; a kernel that adds up a group's queries first (logit) does less.`,
          '',
        ]
      : []),
    ...peerTable(latestFigures(report)),
    ...curveTable('Forward by length, 16/8 heads, m 16, topK 16, data A', 'L', lengthCurve(report)),
    ...curveTable('Forward by topK, 16/8 heads, L 32,768, data A', 'topK', topKCurve(report)),
    [...new Set(runs.flatMap(checkSentences))].join(' '),
  ].join('\n')
}

function peersName({ versions }: ReportRun): string {
  return versions ? `PyTorch ${versions.torch}, cuDNN ${versions.cudnn}, Triton ${versions.triton}` : 'no peers in this run'
}

function commitName({ commit }: RunName): string {
  return `commit ${commit?.slice(0, 10) ?? 'unknown'}${commit?.includes('uncommitted') ? ', with changes' : ''}`
}

function ratesText({ matrixFlops, copyBytes }: NonNullable<ReportRun['rates']>): string {
  return `${(matrixFlops / 1e12).toFixed(0)} TFLOP/s in bf16 matrix products, ${(copyBytes / 1e12).toFixed(1)} TB/s in copies`
}

function checkSentences({ conformance: { passed, failed }, memory }: ReportRun): string[] {
  const failures = failed.length > 0 ? `, ${failed.length} FAILED: ${failed.join(', ')}` : ''
  const flatness = memory ? [`${memory.calls.toLocaleString('en-US')} calls: device memory ${memory.flat ? 'flat' : 'NOT flat'}.`] : []
  return [`${passed} cases of the conformance suite passed before${failures}.`, ...flatness]
}

/** Peers with a figure; of several runs the latest one. */
function latestFigures({ peers }: DeviceReport): PeerRow[] {
  const latest = new Map<string, PeerRow>()
  for (const row of peers) {
    if (row.milliseconds !== undefined) latest.set(JSON.stringify([row.name, row.shape, row.passes, row.data]), row)
  }
  return [...latest.values()]
}

function shapeTable({ rows }: DeviceReport): string {
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
    : ['Peers, forward / forward and backward; the sparse ones without selection:', '', markdown(['heads, L', ...names], body), '']
}

function shapeName({ heads, kvHeads, length, blockSize, topK }: PeerRow['shape']): string {
  return `${heads}/${kvHeads}, ${count(length)}, m ${blockSize}, topK ${topK}`
}

function curveTable(title: string, axis: 'L' | 'topK', { places, at, rows, dense }: Curve): string[] {
  if (places.length === 0) return []
  const cell = (place: number, score: string) =>
    milliseconds(rows.find((row) => at(row) === place && (row.spec.score === score || row.spec.topK === 0))?.rated?.forward)
  const body = places.map((place) => {
    const denseMilliseconds = dense.find((point) => point.place === place)?.milliseconds
    return [count(place), cell(place, 'softmax'), cell(place, 'logit'), denseMilliseconds === undefined ? '' : number(denseMilliseconds)]
  })
  return [`${title}, ${commitName(rows[0].run)}:`, '', markdown([axis, 'softmax', 'logit', 'dense (cuDNN)'], body), '']
}

function milliseconds(rated: Rated | undefined): string {
  return rated ? number(rated.milliseconds) : ''
}
