import type { PoolBackwardInput, PoolInput, Tensor, TokenWeights } from '@phsa/core'
import addRowSumsSource from '../../kernels/add_row_sums.wgsl?raw'
import gridSource from '../../kernels/grid.wgsl?raw'
import poolBlocksSource from '../../kernels/pool_blocks.wgsl?raw'
import poolBlocksBackwardSource from '../../kernels/pool_blocks_backward.wgsl?raw'
import poolLambdaGradientSource from '../../kernels/pool_lambda_gradient.wgsl?raw'
import sequencesSource from '../../kernels/sequences.wgsl?raw'
import { read, write } from '../device/bindings.js'
import { gridOf } from '../device/grid.js'
import { packParams } from '../device/param-layout.js'
import type { AttentionHost } from './attention-host.js'
import { elementOf, packedSequences, Rules, rulesOf, Sequences } from './call-params.js'

/** `Params` of pool_blocks.wgsl and pool_blocks_backward.wgsl. */
export const PoolParams = { sequences: Sequences, rules: Rules, hasBranches: 'u32' } as const

/** `Params` of pool_lambda_gradient.wgsl. */
export const LambdaGradientParams = { sequences: Sequences, rules: Rules, runTokens: 'u32', runs: 'u32' } as const
/** `Params` of add_row_sums.wgsl. */
export const RowSumsParams = { rows: 'u32', columns: 'u32' } as const

/** Threads of a workgroup of pool_blocks.wgsl and pool_blocks_backward.wgsl, each of which owns four dimensions. */
const THREADS = 128

/** Tokens whose gradient of lambda a workgroup sums. */
const RUN_TOKENS = 256

const SHARED_PARTS = [
  { file: 'grid.wgsl', source: gridSource },
  { file: 'sequences.wgsl', source: sequencesSource },
]
const POOL = { name: 'pool_blocks', parts: [...SHARED_PARTS, { file: 'pool_blocks.wgsl', source: poolBlocksSource }] }
const POOL_BACKWARD = {
  name: 'pool_blocks_backward',
  parts: [...SHARED_PARTS, { file: 'pool_blocks_backward.wgsl', source: poolBlocksBackwardSource }],
}
const LAMBDA_GRADIENT = {
  name: 'pool_lambda_gradient',
  parts: [...SHARED_PARTS, { file: 'pool_lambda_gradient.wgsl', source: poolLambdaGradientSource }],
}
const ADD_ROW_SUMS = { name: 'add_row_sums', parts: [{ file: 'add_row_sums.wgsl', source: addRowSumsSource }] }

/** Block representatives, f32 [Hkv, blocks * r, D] (spec 3). */
export function poolBlocks({ device, memory, numbers }: AttentionHost, { k, weights, layout, spec }: PoolInput): Tensor {
  const subBlocks = layout.blocks * spec.representatives
  const reps = memory.make([spec.kvHeads, subBlocks, spec.headDim], 'f32')
  const { global, punctuation, lambda } = branches(weights)
  device.launch({
    kernel: POOL,
    element: elementOf(spec),
    constants: { HEAD_DIM: spec.headDim },
    bindings: [
      read(numbers.ofLayout(layout)),
      read(memory.slice(k)),
      read(memory.slice(global)),
      read(memory.slice(punctuation)),
      read(memory.slice(lambda)),
      write(memory.slice(reps)),
    ],
    params: packParams(PoolParams, {
      sequences: packedSequences(layout),
      rules: rulesOf(spec),
      hasBranches: weights.kind === 'branches' ? 1 : 0,
    }),
    grid: gridOf(Math.ceil((subBlocks * spec.kvHeads) / (THREADS / (spec.headDim / 4)))),
  })
  return reps
}

/** Adds the gradients of the representatives to dk and dLambda. */
export function poolBlocksBackward({ device, memory, numbers }: AttentionHost, input: PoolBackwardInput): void {
  const { weights, layout, spec, dReps, dk } = input
  const { global, punctuation, lambda } = branches(weights)
  device.launch({
    kernel: POOL_BACKWARD,
    element: elementOf(spec),
    constants: { HEAD_DIM: spec.headDim },
    bindings: [
      read(numbers.ofLayout(layout)),
      ...[global, punctuation, lambda, dReps].map((tensor) => read(memory.slice(tensor))),
      write(memory.slice(dk)),
    ],
    params: packParams(PoolParams, {
      sequences: packedSequences(layout),
      rules: rulesOf(spec),
      hasBranches: weights.kind === 'branches' ? 1 : 0,
    }),
    grid: gridOf(Math.ceil((layout.keyTokens * spec.kvHeads) / (THREADS / (spec.headDim / 4)))),
  })
  if (input.dLambda) addLambdaGradient({ device, memory, numbers }, input, input.dLambda)
}

function addLambdaGradient(
  { device, memory, numbers }: AttentionHost,
  { k, weights, layout, spec, dReps }: PoolBackwardInput,
  dLambda: Tensor,
): void {
  const { global, punctuation } = branches(weights)
  const runs = Math.ceil(layout.keyTokens / RUN_TOKENS)
  const partial = memory.make([spec.kvHeads, runs], 'f32')
  device.launch({
    kernel: LAMBDA_GRADIENT,
    element: elementOf(spec),
    constants: { HEAD_DIM: spec.headDim },
    bindings: [
      read(numbers.ofLayout(layout)),
      ...[k, global, punctuation, dReps].map((tensor) => read(memory.slice(tensor))),
      write(memory.slice(partial)),
    ],
    params: packParams(LambdaGradientParams, {
      sequences: packedSequences(layout),
      rules: rulesOf(spec),
      runTokens: RUN_TOKENS,
      runs,
    }),
    grid: gridOf(runs * spec.kvHeads),
  })
  device.launch({
    kernel: ADD_ROW_SUMS,
    element: 'f32',
    constants: {},
    bindings: [read(memory.slice(partial)), write(memory.slice(dLambda))],
    params: packParams(RowSumsParams, { rows: spec.kvHeads, columns: runs }),
    grid: [spec.kvHeads, 1, 1],
  })
}

/** The three tensors of branches; with fused weights the same one stands for those that are not read. */
function branches(weights: TokenWeights): { global: Tensor; punctuation: Tensor; lambda: Tensor } {
  if (weights.kind === 'branches') return weights
  return { global: weights.weights, punctuation: weights.weights, lambda: weights.weights }
}
