import { checkFinishLayer, checkProjectHeads, type ModelOps, type ProjectedHeads, type ProjectHeadsInput, type Tensor } from '@phsa/core'
import type { KernelMemory } from '../attention/kernel-host.js'
import { packParams } from '../attention/param-layout.js'
import { type FewRowsDevice, multiplyFewRows, takesFewRows } from './few-rows.js'
import { HeadsRopeParams } from './op-params.js'

/** kRowThreads and kRowWarps of row_groups.cuh. */
const THREADS = 256
const WARPS = 8
/** kLanePairs of heads_rope.cu: two pairs a lane. */
const MOST_HEAD_DIM = 128

/** Both halves of a layer for a few tokens in bf16, two and three launches, each of which begins while the one in front still runs. */
export function layerHalvesOps(device: FewRowsDevice, memory: KernelMemory): Pick<ModelOps, 'projectHeads' | 'finishLayer'> {
  const { owner } = memory

  function rotate(input: ProjectHeadsInput, { q, k }: ProjectedHeads): void {
    const [tokens, heads, headDim] = q.shape
    const kvHeads = k.shape[1]
    device.launch({
      kernel: 'heads_rope_bf16',
      grid: [Math.ceil((tokens * (heads + kvHeads)) / WARPS), 1, 1],
      block: THREADS,
      overlaps: ['few_rows_'],
      params: packParams(HeadsRopeParams, {
        q: memory.address(q),
        k: memory.address(k),
        qNorm: memory.address(input.qNorm),
        kNorm: memory.address(input.kNorm),
        positions: memory.address(input.positions),
        cos: memory.address(input.rope.cos),
        sin: memory.address(input.rope.sin),
        tokens,
        heads,
        kvHeads,
        headDim,
        epsilon: input.epsilon,
      }),
    })
  }

  return {
    projectHeads(input) {
      memory.checkOpen()
      checkProjectHeads(owner, input)
      const { x, norm, epsilon, q, k, v, qNorm, kNorm } = input
      const [tokens, width] = x.shape
      const [headDim] = qNorm.shape
      const weights = [q, k, v]
      const columns = weights.map(({ shape }) => shape[0])
      if (!isBf16(x, norm, qNorm, kNorm) || headDim > MOST_HEAD_DIM || !device.hasKernel('heads_rope_bf16')) return undefined
      if (!takesFewRows(device, 'normed', tokens, width, columns)) return undefined
      return memory.scope(() => {
        const made = columns.map((count) => memory.make([tokens, count / headDim, headDim], x.dtype))
        multiplyFewRows(device, memory, 'normed', { x, norm, epsilon, weights, results: made })
        const heads = { q: made[0], k: made[1], v: made[2] }
        rotate(input, heads)
        return heads
      })
    },

    finishLayer(input) {
      memory.checkOpen()
      checkFinishLayer(owner, input)
      const { x, out, o, norm, gate, up, down, epsilon } = input
      const [tokens, width] = x.shape
      const [inner] = gate.shape
      const isTaken =
        isBf16(x, norm) &&
        takesFewRows(device, 'added', tokens, o.shape[1], [width]) &&
        takesFewRows(device, 'gated', tokens, width, [inner, inner]) &&
        takesFewRows(device, 'added', tokens, inner, [width])
      if (!isTaken) return undefined
      return memory.scope(() => {
        const [middle, product, output] = [width, inner, width].map((columns) => memory.make([tokens, columns], x.dtype))
        multiplyFewRows(device, memory, 'added', { x: out, residual: x, weights: [o], results: [middle] })
        multiplyFewRows(device, memory, 'gated', { x: middle, norm, epsilon, weights: [gate, up], results: [product] })
        multiplyFewRows(device, memory, 'added', { x: product, residual: middle, weights: [down], results: [output] })
        return output
      })
    },
  }
}

function isBf16(...tensors: readonly Tensor[]): boolean {
  return tensors.every(({ dtype }) => dtype === 'bf16')
}
