import { peakTeraflops } from '@phsa/trainer'
import type { RunTimes } from '../model/model-result.js'
import type { TrainRow } from '../train/train-result.js'
import { deviceName } from './merge-results.js'
import { count, markdown, number, percent } from './table-text.js'
import type { TrainPeerRow, TrainPeersResult, TrainReport } from './train-report.js'

type Measured = TrainRow & { readonly outcome: 'measured' }

/** Kinds of calls as columns; the rest is the last one. */
const COLUMNS: Readonly<Record<string, readonly string[]>> = {
  'pool, select': ['pool', 'pool backward', 'select'],
  attend: ['attend'],
  'attend backward': ['attend backward'],
  linear: ['linear'],
  'linear backward': ['linear backward'],
  loss: ['head', 'cross-entropy'],
  'norms, rope': ['rmsNorm', 'rmsNorm backward', 'qkNormRope', 'qkNormRope backward'],
  'swiglu, add': ['swiglu', 'swiglu backward', 'add'],
  optimizer: ['gradient norm', 'adamw'],
}

/** The tables of a report as Markdown: steps beside PyTorch's fastest way, then where the time goes. */
export function trainTables({ ours, peers }: TrainReport): string {
  const { commit, gate, parameters } = ours
  const named = `commit ${commit?.slice(0, 10) ?? 'unknown'}${commit?.includes('uncommitted') ? ', with changes' : ''}`
  const beside = peers
    ? `PyTorch ${peers.versions.torch} in the same run: the same model without \`transformers\`, dense attention by cuDNN, the fastest of the ways in the file`
    : 'no PyTorch in this run'
  return [
    `Training steps of the shape of Qwen3-0.6B on one ${deviceName(ours)}: ${count(parameters)} random parameters, bf16 with f32 master weights, softmax score, m 16, init 128, local 512, until loss and norm are on the host; ${beside}; ${named}. Before, ${gate.length} comparisons of a small model with the float64 reference.`,
    stepTable(ours.rows, peers, peakTeraflops({ name: 'cuda', device: ours.device }, 'bf16')),
    'Milliseconds by kind of call, of one step more with marks between all calls:',
    classTable(ours.rows),
    ...(peers ? ['PyTorch, all ways, milliseconds:', peerTable(peers)] : []),
  ].join('\n\n')
}

function stepTable(rows: readonly TrainRow[], peers: TrainPeersResult | undefined, peak: number | undefined): string {
  const head = ['tokens', 'attention', 'ms', 'tokens/s', 'MFU', 'host', 'GiB', 'PyTorch', 'tokens/s', 'MFU', 'faster']
  const body = rows.map((row) => {
    const title = [stepName(row), attentionName(row)]
    if (row.outcome !== 'measured') return [...title, row.outcome, ...Array<string>(head.length - 3).fill('')]
    const taken = usual(row)
    const { milliseconds } = taken.elapsed
    const peer = fastestPeer(peers, row)
    const tokens = (row.sequences ?? 1) * row.length
    const used = (flops: number, elapsed: number) => (peak === undefined ? '' : percent(flops / (elapsed / 1e3) / (peak * 1e12)))
    return [
      ...title,
      number(milliseconds),
      count(Math.round(taken.tokensPerSecond)),
      used(row.work.products + row.work.attention, milliseconds),
      taken.hostUntilQueued === undefined ? '' : percent(taken.hostUntilQueued / milliseconds),
      row.peakBytes === undefined ? '' : (row.peakBytes / 2 ** 30).toFixed(1),
      ...(peer === undefined
        ? ['', '', '', '']
        : [
            number(peer.milliseconds),
            count(Math.round((tokens / peer.milliseconds) * 1e3)),
            used(row.work.products + row.work.denseAttention, peer.milliseconds),
            `${number(peer.milliseconds / milliseconds)}x`,
          ]),
    ]
  })
  return markdown(head, body)
}

function classTable(rows: readonly TrainRow[]): string {
  const known = new Set(Object.values(COLUMNS).flat())
  const body = rows.flatMap((row) => {
    if (row.outcome !== 'measured') return []
    const rest = Object.keys(row.classes).filter((name) => !known.has(name))
    const cells = [...Object.values(COLUMNS), rest].map((names) => {
      const times = names.flatMap((name) => row.classes[name] ?? [])
      return times.length === 0 ? '' : number(times.reduce((sum, { milliseconds }) => sum + milliseconds, 0))
    })
    return [[stepName(row), attentionName(row), ...cells]]
  })
  return markdown(['tokens', 'attention', ...Object.keys(COLUMNS), 'rest'], body)
}

function peerTable({ rows }: TrainPeersResult): string {
  const body = rows.map((row) => [
    `${row.sequences} x ${count(row.length)}`,
    row.compiled ? 'yes' : 'no',
    row.checkpointing ? 'yes' : 'no',
    row.keepsLogits ? 'kept' : 'computed again',
    row.milliseconds === undefined ? (row.skipped ?? '') : number(row.milliseconds),
    row.peakBytes === undefined ? '' : (row.peakBytes / 2 ** 30).toFixed(1),
  ])
  return markdown(['tokens', 'torch.compile', 'checkpointing', 'logits', 'ms', 'GiB'], body)
}

/** Of the ways for this step, the one that took least; with recomputation as ours or without. */
function fastestPeer(peers: TrainPeersResult | undefined, step: TrainRow): (TrainPeerRow & { readonly milliseconds: number }) | undefined {
  const measured = (peers?.rows ?? []).flatMap((row) => {
    const isSame = row.sequences === (step.sequences ?? 1) && row.length === step.length
    return isSame && row.milliseconds !== undefined ? [{ ...row, milliseconds: row.milliseconds }] : []
  })
  return measured.sort((left, right) => left.milliseconds - right.milliseconds)[0]
}

/** As the trainer takes it: recorded where the backend records. */
function usual({ queued, captured }: Measured): RunTimes {
  return captured ?? queued
}

function stepName({ sequences = 1, length, recompute = false }: TrainRow): string {
  return `${sequences} x ${count(length)}${recompute ? ', recomputing' : ''}`
}

function attentionName({ attention, topK }: TrainRow): string {
  return attention === 'dense' ? 'dense' : `topK ${topK ?? ''}`
}
