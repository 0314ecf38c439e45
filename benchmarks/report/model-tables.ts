import type { ModelRow, RunTimes } from '../model/model-result.js'
import { deviceName } from './merge-results.js'
import type { ModelPeersResult, ModelReport } from './model-report.js'
import { count, markdown, number } from './table-text.js'

type Measured = ModelRow & { readonly outcome: 'measured' }

/** Kinds of calls as columns, by the classes of `call-classes.ts`; the rest is the last column. */
const COLUMNS: Readonly<Record<string, readonly string[]>> = {
  'pool, select': ['pool', 'pool backward', 'select'],
  attend: ['append', 'attend', 'attend backward'],
  products: ['linear', 'linear backward'],
  'head, loss': ['head', 'cross-entropy', 'sample'],
  'norms, rope': ['rmsNorm', 'rmsNorm backward', 'qkNormRope', 'qkNormRope backward'],
  'swiglu, add': ['swiglu', 'swiglu backward', 'add'],
  optimizer: ['gradient norm', 'adamw'],
}

/** The tables of a report as Markdown: prompts and training steps beside PyTorch, then decoding. */
export function modelTables({ ours, peers }: ModelReport): string {
  const { commit, gate, matrixFlops, parameters, rows, training } = ours
  const named = `commit ${commit?.slice(0, 10) ?? 'unknown'}${commit?.includes('uncommitted') ? ', with changes' : ''}`
  const versions = peers ? `PyTorch ${peers.versions.torch} in the same run, dense, without torch.compile` : 'no PyTorch in this run'
  const overlaps = rows.flatMap((row) => (row.outcome === 'measured' && row.overlap !== undefined ? [row.overlap] : []))
  const sections = [
    `A model of the shape of Qwen3-0.6B on one ${deviceName(ours)}: ${count(parameters)} random parameters, bf16, PHSA with softmax score, m 16, topK 16, init 128, local 512; ${versions}; ${named}. Before, ${gate.length} comparisons of a small model with the float64 reference. Milliseconds; those by kind are of one run more with marks between all calls, without gaps. In brackets the share of the rate of one large product, ${(matrixFlops / 1e12).toFixed(0)} TFLOP/s.`,
    passTable(rows, matrixFlops, peers),
    decodeTable(rows, matrixFlops),
    overlaps.length === 0
      ? ''
      : `Neighbouring queries of these prompts have ${range(overlaps.map((overlap) => overlap * 100))} % of their blocks in common.`,
  ]
  if (training)
    sections.push(`${count(training.calls)} training steps of a small model: device memory ${training.flat ? 'flat' : 'not flat'}.`)
  return sections.filter((section) => section !== '').join('\n\n')
}

function passTable(rows: readonly ModelRow[], matrixFlops: number, peers: ModelPeersResult | undefined): string {
  const passes = rows.filter((row) => row.group !== 'decode')
  if (passes.length === 0) return ''
  const head = [
    'pass',
    'tokens',
    'attention',
    'ms',
    'recorded',
    'tokens/s',
    'PyTorch',
    'faster',
    ...Object.keys(COLUMNS),
    'rest',
    'GiB',
    'host',
  ]
  const body = passes.map((row) => {
    const name = row.group === 'train' ? 'training step' : row.form === 'paged' ? 'prompt, paged' : 'prompt'
    const title = [name, count(row.length), row.attention]
    if (row.outcome !== 'measured') return [...title, row.outcome, ...Array<string>(head.length - 4).fill('')]
    const best = fastest(row)
    const peer = peers?.rows.find(({ group, length }) => group === row.group && length === row.length)?.milliseconds
    return [
      ...title,
      number(row.queued.elapsed.milliseconds),
      row.captured ? number(row.captured.elapsed.milliseconds) : '',
      count(Math.round(best.tokensPerSecond)),
      peer === undefined ? '' : number(peer),
      peer === undefined ? '' : `${number(peer / best.elapsed.milliseconds)}x`,
      ...classCells(row, matrixFlops),
      row.peakBytes === undefined ? '' : (row.peakBytes / 2 ** 30).toFixed(1),
      hostText(row.queued, row.captured),
    ]
  })
  return markdown(head, body)
}

function decodeTable(rows: readonly ModelRow[], matrixFlops: number): string {
  const decoded = rows.filter((row) => row.group === 'decode')
  if (decoded.length === 0) return ''
  const head = [
    'decoding',
    'context',
    'attention',
    'ms',
    'recorded',
    'tokens/s',
    ...Object.keys(COLUMNS).slice(0, -1),
    'rest',
    'GiB',
    'host',
  ]
  const body = decoded.map((row) => {
    if (row.outcome !== 'measured')
      return [`batch ${row.planned}`, count(row.length), row.attention, row.outcome, ...Array<string>(head.length - 4).fill('')]
    // No optimizer.
    const cells = classCells(row, matrixFlops)
    return [
      `batch ${row.batch ?? row.planned}`,
      count(row.length),
      row.attention,
      number(row.queued.elapsed.milliseconds),
      row.captured ? number(row.captured.elapsed.milliseconds) : '',
      count(Math.round(fastest(row).tokensPerSecond)),
      ...cells.filter((_, column) => column !== cells.length - 2),
      row.peakBytes === undefined ? '' : (row.peakBytes / 2 ** 30).toFixed(1),
      hostText(row.queued, row.captured),
    ]
  })
  return `Decoding, each step until its ids are on the host:\n\n${markdown(head, body)}`
}

/** A recorded step where it is the faster one. */
function fastest({ queued, captured }: Measured): RunTimes {
  return captured && captured.elapsed.milliseconds < queued.elapsed.milliseconds ? captured : queued
}

/** One cell a column, then what is left. */
function classCells({ classes }: Measured, matrixFlops: number): string[] {
  const columns = [...Object.values(COLUMNS)]
  const known = new Set(columns.flat())
  const rest = Object.keys(classes).filter((name) => !known.has(name))
  return [...columns, rest].map((names) => {
    const times = names.flatMap((name) => classes[name] ?? [])
    const milliseconds = times.reduce((sum, time) => sum + time.milliseconds, 0)
    const flops = times.reduce((sum, time) => sum + time.flops, 0)
    if (times.length === 0) return ''
    const share = flops / (milliseconds / 1e3) / matrixFlops
    return `${number(milliseconds)}${flops > 0 && milliseconds > 0 ? ` (${Math.round(share * 100)} %)` : ''}`
  })
}

/** Milliseconds that a run takes the host. */
function hostText(queued: RunTimes, captured: RunTimes | undefined): string {
  return captured ? `${number(queued.hostMilliseconds)}, recorded ${number(captured.hostMilliseconds)}` : number(queued.hostMilliseconds)
}

function range(values: readonly number[]): string {
  const [least, most] = [Math.round(Math.min(...values)), Math.round(Math.max(...values))]
  return least === most ? `${least}` : `${least} to ${most}`
}
