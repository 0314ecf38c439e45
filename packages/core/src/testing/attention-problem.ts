import type { AttentionBackend } from '../contract/attention-backend.js'
import type { AttentionSpec } from '../contract/attention-spec.js'
import type { Layout, TokenWeights } from '../contract/layout.js'
import type { DType, HostArray, Tensor } from '../contract/tensor.js'
import { type LayoutCapacity, uploadLayout } from '../upload-layout.js'
import type { AttentionInputs, HostTokenWeights } from './attention-inputs.js'
import { padRows } from './padded-rows.js'
import { type Probe, uploadAs } from './probe.js'

/** A case's tensors on a backend. */
export interface AttentionProblem {
  readonly q: Tensor
  readonly k: Tensor
  readonly v: Tensor
  readonly dOut: Tensor
  readonly weights: TokenWeights
  readonly layout: Layout
  readonly spec: AttentionSpec
}

/** On the reference: float64 (weights stay f32, being inputs), exact layout. Call within a scope. */
export function referenceProblem(reference: AttentionBackend, inputs: AttentionInputs, spec: AttentionSpec): AttentionProblem {
  const upload = (data: HostArray, rows: number, heads: number) => uploadAs(reference, data, [rows, heads, spec.headDim], 'f64')
  const { layout } = inputs
  return {
    q: upload(inputs.q, layout.totalQueries, spec.heads),
    k: upload(inputs.k, layout.totalTokens, spec.kvHeads),
    v: upload(inputs.v, layout.totalTokens, spec.kvHeads),
    dOut: upload(inputs.dOut, layout.totalQueries, spec.heads),
    weights: uploadWeights(inputs.weights, (_, data) => reference.memory.upload(data, [data.length], 'f32')),
    layout: uploadLayout(reference.memory, layout),
    spec: { ...spec, dtype: 'f64' },
  }
}

/** On the tested backend: watched by canaries, with NaN in the rows that belong to no sequence. */
export async function probeProblem(
  probe: Probe,
  inputs: AttentionInputs,
  spec: AttentionSpec,
  capacity: LayoutCapacity | undefined,
): Promise<AttentionProblem> {
  const packed = inputs.layout
  const layout = uploadLayout(probe.backend.memory, packed, capacity)
  for (const name of ['queryStarts', 'keyStarts', 'blockStarts'] as const) await probe.watch(name, layout[name])
  const upload = (name: string, data: HostArray, rows: number, padded: number, heads: number) => {
    const width = heads * spec.headDim
    return probe.input(
      name,
      padRows(data, { groups: 1, rows, capacity: padded, width }, Number.NaN),
      [padded, heads, spec.headDim],
      spec.dtype,
    )
  }
  const weights = uploadWeights(inputs.weights, (name, data) => {
    if (name === 'lambda') return probe.input(name, data, [data.length], 'f32')
    const padded = padRows(data, { groups: 1, rows: packed.totalTokens, capacity: layout.keyTokens, width: 1 }, Number.NaN)
    return probe.input(`weights ${name}`, padded, [layout.keyTokens], 'f32')
  })
  expectOutputs(probe, spec, layout)
  return {
    q: upload('q', inputs.q, packed.totalQueries, layout.queryTokens, spec.heads),
    k: upload('k', inputs.k, packed.totalTokens, layout.keyTokens, spec.kvHeads),
    v: upload('v', inputs.v, packed.totalTokens, layout.keyTokens, spec.kvHeads),
    dOut: upload('dOut', inputs.dOut, packed.totalQueries, layout.queryTokens, spec.heads),
    weights,
    layout,
    spec,
  }
}

function expectOutputs(probe: Probe, spec: AttentionSpec, layout: Layout): void {
  const outputs: [readonly number[], DType][] = [
    [[spec.kvHeads, layout.blocks * spec.representatives, spec.headDim], 'f32'],
    [[spec.kvHeads, layout.queryTokens, spec.topK], 'i32'],
    [[layout.queryTokens, spec.heads], 'f32'],
    [[spec.kvHeads, layout.queryTokens, layout.maxBlocks], 'f32'],
  ]
  for (const [shape, dtype] of outputs) probe.expectOutput(shape, dtype)
}

function uploadWeights(weights: HostTokenWeights, upload: (name: string, data: Float32Array) => Tensor): TokenWeights {
  if (weights.kind === 'fused') return { kind: 'fused', weights: upload('fused', weights.weights) }
  return {
    kind: 'branches',
    global: upload('global', weights.global),
    punctuation: upload('punctuation', weights.punctuation),
    lambda: upload('lambda', weights.lambda),
  }
}
