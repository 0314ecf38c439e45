import type { Layout, PoolBackwardInput, PoolInput, Tensor, TokenWeights } from '@phsa/core'
import { kernelName, packedSequences, rulesOf } from './call-params.js'
import { blocksOfWarps, THREADS } from './kernel-grid.js'
import type { KernelDevice, KernelMemory } from './kernel-host.js'
import { LambdaGradientParams, PoolBackwardParams, PoolParams } from './kernel-params.js'
import { packParams } from './param-layout.js'

/** Threads that sum the gradient of one lambda: kSumThreads of pool_blocks.cu. */
const SUM_THREADS = 256

/** Block representatives, f32 [Hkv, blocks * r, D] (spec 3). */
export function poolBlocks(device: KernelDevice, memory: KernelMemory, { k, weights, layout, spec }: PoolInput): Tensor {
  const subBlocks = layout.blocks * spec.representatives
  const reps = memory.make([spec.kvHeads, subBlocks, spec.headDim], 'f32')
  device.launch({
    kernel: kernelName('pool_blocks', spec),
    grid: [blocksOfWarps(subBlocks * spec.kvHeads), 1, 1],
    block: THREADS,
    params: packParams(PoolParams, {
      k: memory.address(k),
      ...weightAddresses(memory, weights),
      reps: memory.address(reps),
      sequences: packedSequences(memory, layout),
      rules: rulesOf(spec),
    }),
  })
  return reps
}

/** Adds the gradients of the representatives to dk and dLambda. */
export function poolBlocksBackward(device: KernelDevice, memory: KernelMemory, input: PoolBackwardInput): void {
  const { dLambda, layout, spec } = input
  if (!dLambda) {
    addKeyGradient(device, memory, input, 0n)
    return
  }
  memory.scratch(spec.kvHeads * layout.keyTokens * Float32Array.BYTES_PER_ELEMENT, ({ address: terms }) => {
    addKeyGradient(device, memory, input, terms)
    addLambdaGradient(device, memory, dLambda, terms, layout)
  })
}

function addKeyGradient(
  device: KernelDevice,
  memory: KernelMemory,
  { k, weights, layout, spec, dReps, dk }: PoolBackwardInput,
  lambdaTerms: bigint,
): void {
  device.launch({
    kernel: kernelName('pool_blocks_backward', spec),
    grid: [blocksOfWarps(layout.keyTokens * spec.kvHeads), 1, 1],
    block: THREADS,
    params: packParams(PoolBackwardParams, {
      k: memory.address(k),
      ...weightAddresses(memory, weights),
      dReps: memory.address(dReps),
      dk: memory.address(dk),
      lambdaTerms,
      sequences: packedSequences(memory, layout),
      rules: rulesOf(spec),
    }),
  })
}

function addLambdaGradient(device: KernelDevice, memory: KernelMemory, dLambda: Tensor, terms: bigint, { keyTokens }: Layout): void {
  const [kvHeads] = dLambda.shape
  const params = packParams(LambdaGradientParams, { terms, dLambda: memory.address(dLambda), tokens: keyTokens, kvHeads })
  device.launch({ kernel: 'pool_lambda_gradient', grid: [kvHeads, 1, 1], block: SUM_THREADS, params })
}

function weightAddresses(memory: KernelMemory, weights: TokenWeights): { weights: bigint; punctuation: bigint; lambda: bigint } {
  if (weights.kind === 'fused') return { weights: memory.address(weights.weights), punctuation: 0n, lambda: 0n }
  const { global, punctuation, lambda } = weights
  return { weights: memory.address(global), punctuation: memory.address(punctuation), lambda: memory.address(lambda) }
}
