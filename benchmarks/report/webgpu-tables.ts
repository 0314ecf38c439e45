import type { AttentionPart, AttentionRow, ModelRow } from '../webgpu/webgpu-result.js'
import { count, markdown, number, percent } from './table-text.js'
import { attentionRow, fasterBy, type WebgpuReport, webgpuDeviceName } from './webgpu-report.js'

const PARTS: readonly AttentionPart[] = ['pool', 'select', 'attend', 'forward', 'backward', 'both']

/** The tables of a report as Markdown: products, attention, a model, and the bars. */
export function webgpuTables(report: WebgpuReport): string {
  const { commit, conformance, cuda } = report
  const named = `commit ${commit?.slice(0, 10) ?? 'unknown'}${commit?.includes('uncommitted') ? ', with changes' : ''}`
  const { passed, failed } = conformance
  return [
    `Measured on one ${webgpuDeviceName(report)} through Dawn and Vulkan (${report.device}), ${named}; wall time of queued calls, one set of inputs. Before, ${passed} cases of the conformance suite passed${failed.length > 0 ? ` and ${failed.length} FAILED` : ''}, and each row's sampled results agreed with float64.${cuda ? ' CUDA is `@phsa/kernels-cuda` in the same process.' : ''}`,
    productTable(report),
    attentionTable(report),
    modelTable(report.model),
    barTable(report),
  ]
    .filter((section) => section !== '')
    .join('\n\n')
}

function productTable({ products, peakFlops }: WebgpuReport): string {
  if (products.length === 0) return ''
  const names = { webgpu: 'this package', cuda: 'CUDA (cuBLASLt)', 'tfjs-webgpu': 'tfjs-backend-webgpu' }
  const body = products.map(({ engine, dtype, size, outcome, time, flops }) => [
    `${names[engine]}, ${dtype}`,
    count(size),
    time ? number(time.milliseconds) : outcome,
    flops ? number(flops / 1e12) : '',
    flops && peakFlops && engine !== 'cuda' && dtype === 'f32' ? percent(flops / peakFlops) : '',
  ])
  return markdown(['product of square matrices', 'size', 'ms', 'TFLOP/s', `of ${number((peakFlops ?? 0) / 1e12)} TFLOP/s`], body)
}

function attentionTable({ attention }: WebgpuReport): string {
  if (attention.length === 0) return ''
  const rows = [...attention].sort((left, right) => left.length - right.length || left.engine.localeCompare(right.engine) * -1)
  const body = rows.map((row) => {
    const { engine, length, spec, times, outcome } = row
    const name = row.attention === 'dense' ? 'dense' : `PHSA, ${spec.score}`
    const cells = PARTS.map((part, index) =>
      outcome === 'measured' ? milliseconds(times?.[part]?.milliseconds) : index === 0 ? outcome : '',
    )
    return [count(length), `${engine}, ${spec.dtype}`, name, ...cells, fasterThanDense(attention, row)]
  })
  const head = ['L', 'on', 'attention', 'pool', 'select', 'attend', 'forward', 'backward', 'forward and backward', 'faster than dense']
  const [{ spec }] = attention
  return `Attention of one layer, milliseconds: ${spec.heads}/${spec.kvHeads} heads of ${spec.headDim}, m ${spec.blockSize}, topK 16, data A (neighbouring queries choose some of the same blocks). \`forward\` is pool, select and attend in a row; \`backward\` is attention's. Faster: forward, and both passes by the lesser of at once and one after the other.\n\n${markdown(head, body)}`
}

function fasterThanDense(rows: readonly AttentionRow[], row: AttentionRow): string {
  const dense = row.attention === 'dense' ? undefined : attentionRow(rows, { engine: row.engine, length: row.length, attention: 'dense' })
  if (!dense?.times?.both || !row.times?.both || !dense.times.forward || !row.times.forward) return ''
  return `${fasterBy(row, dense, 'forward').toFixed(1)}x, ${fasterBy(row, dense, 'both').toFixed(1)}x`
}

function modelTable(rows: readonly ModelRow[]): string {
  if (rows.length === 0) return ''
  const body = rows.map(({ engine, dtype, what, attention, length, sequences, outcome, time, tokensPerSecond }) => [
    what === 'prefill' ? 'prompt' : `next token, ${sequences} sequence${sequences > 1 ? 's' : ''}`,
    count(length),
    attention,
    `${engine}, ${dtype}`,
    outcome === 'measured' ? milliseconds(time?.milliseconds) : outcome,
    tokensPerSecond ? count(Math.round(tokensPerSecond)) : '',
  ])
  return `A model of the shape of Qwen3-0.6B with random weights: the logits of a prompt's last token, and recorded steps of decoding until the ids are on the host.\n\n${markdown(['pass', 'tokens', 'attention', 'on', 'ms', 'tokens/s'], body)}`
}

function barTable({ bars }: WebgpuReport): string {
  if (bars.length === 0) return ''
  return markdown(
    ['bar', 'measured', 'wanted'],
    bars.map(({ what, measured, least, reached }) => {
      const text = (value: number) => (least < 1 ? percent(value) : `${value.toFixed(1)}x`)
      return [what, reached ? `**${text(measured)}**` : text(measured), text(least)]
    }),
  )
}

function milliseconds(value: number | undefined): string {
  return value === undefined ? '' : number(value)
}
