import type { AttentionSpec, SelectionLossBackwardInput, SelectionLossGradients, SelectionLossInput, Tensor } from '@phsa/core'
import gridSource from '../../kernels/grid.wgsl?raw'
import groupScoresSource from '../../kernels/group_scores.wgsl?raw'
import logSumsSource from '../../kernels/log_sums.wgsl?raw'
import selectionLossSource from '../../kernels/selection_loss.wgsl?raw'
import selectionLossQuerySource from '../../kernels/selection_loss_query.wgsl?raw'
import selectionLossRepsSource from '../../kernels/selection_loss_reps.wgsl?raw'
import selectionLossTotalSource from '../../kernels/selection_loss_total.wgsl?raw'
import selectionSampleSource from '../../kernels/selection_sample.wgsl?raw'
import sequencesSource from '../../kernels/sequences.wgsl?raw'
import { read, write } from '../device/bindings.js'
import { gridOf } from '../device/grid.js'
import { packParams } from '../device/param-layout.js'
import type { AttentionHost } from './attention-host.js'
import { elementOf, packedSequences, Rules, rulesOf, Sequences } from './call-params.js'

/** `Params` of selection_sample.wgsl. */
export const SelectionSampleParams = { sequences: Sequences, rules: Rules, count: 'u32', maxBlocks: 'u32', coefficient: 'f32' } as const
/** `Params` of selection_loss_total.wgsl. */
export const SelectionTotalParams = { items: 'u32' } as const

/** Threads of a workgroup, but for that of the total. */
const THREADS = 128
/** Sub-blocks of a workgroup: OWNED of selection_loss_reps.wgsl. */
const OWNED = 8

const GRID = { file: 'grid.wgsl', source: gridSource }
const SEQUENCES = { file: 'sequences.wgsl', source: sequencesSource }
const SAMPLE = { file: 'selection_sample.wgsl', source: selectionSampleSource }
const SCORES = [
  { file: 'log_sums.wgsl', source: logSumsSource },
  { file: 'group_scores.wgsl', source: groupScoresSource },
]
const LOSS = {
  name: 'selection_loss',
  parts: [GRID, SEQUENCES, SAMPLE, ...SCORES, { file: 'selection_loss.wgsl', source: selectionLossSource }],
}
const TOTAL = { name: 'selection_loss_total', parts: [{ file: 'selection_loss_total.wgsl', source: selectionLossTotalSource }] }
const QUERY = {
  name: 'selection_loss_query',
  parts: [GRID, SEQUENCES, SAMPLE, ...SCORES, { file: 'selection_loss_query.wgsl', source: selectionLossQuerySource }],
}
const REPS = {
  name: 'selection_loss_reps',
  parts: [GRID, SEQUENCES, SAMPLE, { file: 'selection_loss_reps.wgsl', source: selectionLossRepsSource }],
}

/** What the loss leaves for its gradients. */
interface Intermediates {
  readonly loss: Tensor
  /** f32 [1]: sum(T). */
  readonly totals: Tensor
  /** f32 [Hkv, n, maxBlocks, 2] */
  readonly blockExcesses: Tensor
  /** f32 [Hkv, n, G, 3] */
  readonly sampleHeads: Tensor
}

/** Block distillation loss, f32 [1] (spec 10). */
export function selectionLoss(host: AttentionHost, input: SelectionLossInput): Tensor {
  return queueLoss(host, input).loss
}

/** The loss and the gradient of the representatives; that of q is added to dq. */
export function selectionLossBackward(host: AttentionHost, input: SelectionLossBackwardInput): SelectionLossGradients {
  const { device, memory, numbers } = host
  const { q, reps, rows, layout, spec, coefficient, dq } = input
  const { loss, totals, blockExcesses, sampleHeads } = queueLoss(host, input)
  const dReps = memory.make(reps.shape, 'f32')
  const inputs = [q, reps, rows, totals, blockExcesses].map((tensor) => read(memory.slice(tensor)))
  const launch = {
    element: elementOf(spec),
    constants: constantsOf(spec),
    params: paramsOf(input, coefficient),
  }
  device.launch({
    ...launch,
    kernel: QUERY,
    bindings: [read(numbers.ofLayout(layout)), ...inputs, write(memory.slice(sampleHeads)), write(memory.slice(dq))],
    grid: gridOf(rows.shape[0] * spec.kvHeads),
  })
  device.launch({
    ...launch,
    kernel: REPS,
    constants: { HEAD_DIM: spec.headDim, GROUP: spec.heads / spec.kvHeads },
    bindings: [read(numbers.ofLayout(layout)), ...inputs, read(memory.slice(sampleHeads)), write(memory.slice(dReps))],
    grid: gridOf(Math.ceil((layout.blocks * spec.representatives) / OWNED) * spec.kvHeads),
  })
  return { loss, dReps }
}

function queueLoss({ device, memory, numbers }: AttentionHost, input: SelectionLossInput): Intermediates {
  const { q, reps, mass, rows, layout, spec } = input
  const samples = spec.kvHeads * rows.shape[0]
  const loss = memory.make([1], 'f32')
  const totals = memory.make([1], 'f32')
  const blockExcesses = memory.make([samples, layout.maxBlocks, 2], 'f32')
  const sampleHeads = memory.make([samples, spec.heads / spec.kvHeads, 3], 'f32')
  const partial = memory.make([2, samples], 'f32')
  device.launch({
    kernel: LOSS,
    element: elementOf(spec),
    constants: constantsOf(spec),
    bindings: [
      read(numbers.ofLayout(layout)),
      ...[q, reps, mass, rows].map((tensor) => read(memory.slice(tensor))),
      ...[sampleHeads, blockExcesses, partial].map((tensor) => write(memory.slice(tensor))),
    ],
    params: paramsOf(input, 0),
    grid: gridOf(samples),
  })
  device.launch({
    kernel: TOTAL,
    element: 'f32',
    constants: {},
    bindings: [read(memory.slice(partial)), write(memory.slice(loss)), write(memory.slice(totals))],
    params: packParams(SelectionTotalParams, { items: samples }),
    grid: [1, 1, 1],
  })
  return { loss, totals, blockExcesses, sampleHeads }
}

function constantsOf({ headDim, heads, kvHeads }: AttentionSpec) {
  return { HEAD_DIM: headDim, GROUP: heads / kvHeads, THREADS }
}

function paramsOf({ rows, layout, spec }: SelectionLossInput, coefficient: number) {
  return packParams(SelectionSampleParams, {
    sequences: packedSequences(layout),
    rules: rulesOf(spec),
    count: rows.shape[0],
    maxBlocks: layout.maxBlocks,
    coefficient,
  })
}
