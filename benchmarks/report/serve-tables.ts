import type { SameRequest } from '../serve/serve-result.js'
import { deviceName } from './merge-results.js'
import { fastestServePeer, type MeasuredServeRow, measuredServeRows, type ServeReport } from './serve-report.js'
import { count, markdown, number, percent } from './table-text.js'

/** What the server was written against. */
const BARS = { floorShare: 0.4, sparseFactor: 8, denseShare: 0.6, firstTokenFactor: 5, hostShare: 0.05 } as const

/** PHSA and dense attention of one context and batch. */
interface Pair {
  readonly context: number
  readonly batch: number
  readonly phsa: MeasuredServeRow | undefined
  readonly dense: MeasuredServeRow | undefined
}

/** The tables of a report as Markdown: bars, decoding, first tokens, one request beside itself. */
export function serveTables(report: ServeReport): string {
  const rows = measuredServeRows(report)
  const pairs = pairsOf(rows)
  const last = report.runs[report.runs.length - 1]
  const commits = [...new Set(report.runs.map(({ ours }) => ours.commit?.slice(0, 10) ?? 'unknown'))].join(', ')
  const peers = report.runs.find((run) => run.peers)?.peers
  const { ours } = last
  const gate = report.runs.flatMap((run) => run.ours.gate?.checks ?? [])
  const same = report.runs.findLast((run) => run.ours.same.length > 0)?.ours.same ?? []
  return [
    `A server with a model of the shape of Qwen3-0.6B on one ${deviceName(ours)}: ${count(ours.parameters)} random parameters, bf16, topK ${ours.topK}, m 16, init 128, local 512; caches of ${(ours.cacheBytes / 2 ** 30).toFixed(0)} GiB; clients that read streams over HTTP in another thread; ${
      peers
        ? `PyTorch ${peers.versions.torch} on the same GPU, dense, without a server, the fastest of the ways in the file${report.runs.length > 1 ? ', whichever run it was in' : ''}`
        : 'no PyTorch in these runs'
    }; commit ${commits}. Before, ${gate.length} comparisons of streams with the model without the server, ${gate.filter(({ ok }) => ok).length} of them right.`,
    barTable(pairs, rows),
    'Decoding, all streams under way; in brackets the share of the rate of a copy that the bytes of a step take. Host: from the arrival of the tokens of a step until the next one is queued; idle: what the GPU waits between two steps.',
    decodeTable(report, pairs),
    'First tokens of one request at a time, milliseconds from the request to the token, over HTTP; `promptTokens` as given to the server, or its default at that commit:',
    firstTokenTable(report, pairs),
    ...(same.length > 0 ? ['One request twice, beside a first run of it alone:', sameTable(same)] : []),
  ].join('\n\n')
}

function pairsOf(rows: readonly MeasuredServeRow[]): Pair[] {
  const keys = new Map(rows.map(({ context, batch }) => [`${context} ${batch}`, { context, batch }]))
  return [...keys.values()].map(({ context, batch }) => {
    const find = (name: 'phsa' | 'dense') => rows.find((row) => row.context === context && row.batch === batch && row.attention === name)
    return { context, batch, phsa: find('phsa'), dense: find('dense') }
  })
}

/** Milliseconds of a step as clients see it. */
function stepMilliseconds({ batch, decode }: MeasuredServeRow): number {
  return (batch / decode.tokensPerSecond) * 1e3
}

/** Share of the rate of a copy. */
function copyShare(row: MeasuredServeRow): number {
  return row.stepBytes / row.run.ours.copyBytes / (stepMilliseconds(row) / 1e3)
}

function barTable(pairs: readonly Pair[], rows: readonly MeasuredServeRow[]): string {
  const find = (context: number, batch: number) => pairs.find((pair) => pair.context === context && pair.batch === batch)
  const [short, long, longest] = [find(1024, 1), find(131_072, 1), find(131_072, 4)]
  const floor = short?.phsa && short.phsa.run.ours.weightBytes / short.phsa.run.ours.copyBytes / (stepMilliseconds(short.phsa) / 1e3)
  const factor = longest?.phsa && longest.dense && longest.phsa.decode.tokensPerSecond / longest.dense.decode.tokensPerSecond
  const firstFactor =
    long?.phsa?.firstToken && long.dense?.firstToken && long.dense.firstToken.milliseconds / long.phsa.firstToken.milliseconds
  // Steps that are queued ahead hide the host's own time; what the GPU waits between two steps shows all that the host costs.
  const waits = rows.flatMap(({ decode: { idle, step } }) => (idle && step ? [idle.milliseconds / step.milliseconds] : []))
  const worst = waits.length > 0 ? Math.max(...waits) : undefined
  const line = (name: string, value: number | undefined, bar: number, format: (value: number) => string, isReached: boolean) => {
    const told = value === undefined ? 'not measured' : format(value)
    return [name, value !== undefined && isReached ? `**${told}**` : told, format(bar)]
  }
  const atLeast = (name: string, value: number | undefined, bar: number, format: (value: number) => string) =>
    line(name, value, bar, format, value !== undefined && value >= bar)
  return markdown(
    ['', 'measured', 'bar'],
    [
      atLeast('1,024 tokens, one stream: weights at the rate of a copy, over a step', floor, BARS.floorShare, percent),
      atLeast('131,072 tokens, 4 streams: PHSA over dense', factor, BARS.sparseFactor, times),
      atLeast('131,072 tokens, 4 streams, dense: share of a copy', longest?.dense && copyShare(longest.dense), BARS.denseShare, percent),
      atLeast('131,072 tokens: first token, PHSA over dense', firstFactor, BARS.firstTokenFactor, times),
      line(
        'share of a step that the GPU waits for the host, the largest of all rows',
        worst,
        BARS.hostShare,
        percent,
        worst !== undefined && worst < BARS.hostShare,
      ),
    ],
  )
}

function decodeTable(report: ServeReport, pairs: readonly Pair[]): string {
  const head = [
    'tokens',
    'streams',
    'PHSA tokens/s',
    'step ms',
    'GPU ms',
    'host',
    'idle',
    'dense tokens/s',
    'step ms',
    'PHSA faster',
    'PyTorch tokens/s',
    'PHSA faster',
  ]
  const body = pairs.map(({ context, batch, phsa, dense }) => {
    const peer = fastestServePeer(report, 'step', context, batch)
    const { step, device, host, idle } = phsa?.decode ?? {}
    const rate = (row: MeasuredServeRow | undefined) =>
      row ? `${count(Math.round(row.decode.tokensPerSecond))} (${percent(copyShare(row))})` : ''
    return [
      count(context),
      String(batch),
      rate(phsa),
      phsa ? number(stepMilliseconds(phsa)) : '',
      device ? number(device.milliseconds) : '',
      host && step ? percent(host.milliseconds / step.milliseconds) : '',
      idle && step ? percent(idle.milliseconds / step.milliseconds) : '',
      rate(dense),
      dense ? number(stepMilliseconds(dense)) : '',
      phsa && dense ? times(phsa.decode.tokensPerSecond / dense.decode.tokensPerSecond) : '',
      peer === undefined ? '' : count(Math.round((batch / peer) * 1e3)),
      peer === undefined || !phsa ? '' : times(peer / stepMilliseconds(phsa)),
    ]
  })
  return markdown(head, body)
}

function firstTokenTable(report: ServeReport, pairs: readonly Pair[]): string {
  const body = pairs.flatMap(({ context, phsa, dense }) => {
    const [sparse, whole] = [phsa?.firstToken?.milliseconds, dense?.firstToken?.milliseconds]
    if (sparse === undefined && whole === undefined) return []
    const peer = fastestServePeer(report, 'first token', context, 1)
    const cell = (value: number | undefined) => (value === undefined ? '' : number(value))
    const faster = (other: number | undefined) => (other === undefined || sparse === undefined ? '' : times(other / sparse))
    const { promptTokens } = (phsa ?? dense)!.run.ours
    const step = promptTokens === undefined ? 'its default' : count(promptTokens)
    return [[count(context), step, cell(sparse), cell(whole), faster(whole), cell(peer), faster(peer)]]
  })
  return markdown(['tokens', '`promptTokens`', 'PHSA', 'dense', 'PHSA faster', 'PyTorch', 'PHSA faster'], body)
}

function sameTable(same: readonly SameRequest[]): string {
  const names = {
    alone: 'alone again',
    cached: 'alone, prompt cached',
    ahead: 'alone, steps queued ahead',
    batch: 'in a batch of',
  } as const
  return markdown(
    ['second run', 'temperature', 'equal tokens before the first other one', 'of them with equal log-probabilities', 'largest difference'],
    same.map(({ beside, batch, temperature, tokens, equalTokens, equalLogprobs, largestDifference }) => [
      `${names[beside]}${beside === 'batch' ? ` ${batch}` : ''}`,
      String(temperature),
      `${equalTokens} of ${tokens}`,
      beside === 'ahead' ? '' : String(equalLogprobs),
      beside === 'ahead' ? '' : largestDifference === 0 ? '0' : largestDifference.toExponential(1),
    ]),
  )
}

function times(factor: number): string {
  return `${number(factor)}x`
}
