import type { AttentionPart, AttentionRow, ProductRow, WebgpuResult } from '../webgpu/webgpu-result.js'

/** Something that had to be reached. Plain JSON. */
export interface WebgpuBar {
  readonly what: string
  readonly measured: number
  readonly least: number
  readonly reached: boolean
}

/** `benchmarks/results/<device>-webgpu.json`. Plain JSON. */
export interface WebgpuReport extends Omit<WebgpuResult, 'format'> {
  readonly format: 'phsa-webgpu-report/1'
  readonly bars: readonly WebgpuBar[]
  /** FLOP/s of the GPU's multipliers for f32, by its data sheet; absent where this program does not know it. */
  readonly peakFlops?: number
}

const LENGTH = 32_768
/** f32 outside of tensor cores, which WebGPU does not reach, FLOP/s. */
const PEAKS: Readonly<Record<string, number>> = { 'NVIDIA H200': 67e12 }

/** Adds the bars: the product beside TensorFlow.js's, PHSA beside dense attention, and dense attention beside the product. */
export function webgpuReport({ format: _, ...result }: WebgpuResult): WebgpuReport {
  const peak = PEAKS[webgpuDeviceName(result)]
  const bars = [...productBars(result.products), ...attentionBars(result)]
  return { ...result, format: 'phsa-webgpu-report/1', bars, ...(peak === undefined ? {} : { peakFlops: peak }) }
}

/** The GPU's name: as CUDA says it, where there is CUDA. */
export function webgpuDeviceName({ device, cuda }: Pick<WebgpuResult, 'device' | 'cuda'>): string {
  return (cuda ?? device).split(',')[0]
}

/** The row of an engine, if it was measured. */
export function attentionRow(
  rows: readonly AttentionRow[],
  wanted: Pick<AttentionRow, 'engine' | 'length' | 'attention'> & { readonly score?: string },
): AttentionRow | undefined {
  return rows.find(
    (row) =>
      row.outcome === 'measured' &&
      row.engine === wanted.engine &&
      row.length === wanted.length &&
      row.attention === wanted.attention &&
      (wanted.score === undefined || row.spec.score === wanted.score),
  )
}

/** How many times as fast PHSA is as dense attention. */
export function fasterBy(phsa: AttentionRow, dense: AttentionRow, part: 'forward' | 'both'): number {
  return partMilliseconds(dense, part) / partMilliseconds(phsa, part)
}

/** NaN where a part was not measured. Both passes at once may have been timed in a single cold call: they count for no more than one after the other. */
function partMilliseconds({ times }: AttentionRow, part: AttentionPart): number {
  const of = (name: AttentionPart) => times?.[name]?.milliseconds ?? Number.NaN
  return part === 'both' ? Math.min(of('both'), of('forward') + of('backward')) : of(part)
}

function productBars(products: readonly ProductRow[]): WebgpuBar[] {
  const rateOf = (engine: ProductRow['engine']) => products.find((row) => row.engine === engine && row.dtype === 'f32')?.flops
  const [ours, theirs] = [rateOf('webgpu'), rateOf('tfjs-webgpu')]
  return ours && theirs ? [bar("f32 product over TensorFlow.js's", ours / theirs, 3)] : []
}

function attentionBars({ attention, products }: Pick<WebgpuResult, 'attention' | 'products'>): WebgpuBar[] {
  const dense = attentionRow(attention, { engine: 'webgpu', length: LENGTH, attention: 'dense' })
  if (!dense) return []
  const factors = (['softmax', 'logit'] as const).flatMap((score) => {
    const phsa = attentionRow(attention, { engine: 'webgpu', length: LENGTH, attention: 'phsa', score })
    if (!phsa) return []
    return (['forward', 'both'] as const).map((part) => {
      const what = `PHSA (${score}) over dense attention at ${LENGTH} tokens, ${part === 'both' ? 'forward and backward' : part}`
      return bar(what, fasterBy(phsa, dense, part), 5)
    })
  })
  const rateOf = (part: 'attend' | 'backward') => (dense.flops?.[part] ?? Number.NaN) / (partMilliseconds(dense, part) / 1e3)
  // The f16 product may use matrix units, which the f32 one never has.
  const shares = products
    .filter(({ engine, flops }) => engine === 'webgpu' && flops !== undefined)
    .flatMap(({ dtype, flops = Number.NaN }) =>
      (['attend', 'backward'] as const).map((part) => {
        const what = `dense attention (${dense.spec.dtype}) over the ${dtype} product's rate, ${part === 'attend' ? 'forward' : part}`
        return bar(what, rateOf(part) / flops, 0.6)
      }),
    )
  return [...factors, ...shares]
}

function bar(what: string, measured: number, least: number): WebgpuBar {
  return { what, measured, least, reached: measured >= least }
}
