import { type AttentionSpec, PackedLayout, RandomStream, uploadLayout } from '@phsa/core'
import type { WebgpuModelBackend } from '@phsa/kernels-webgpu'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openWebgpu, webgpuUnavailable } from './open-webgpu.js'

const SPEC: AttentionSpec = {
  heads: 6,
  kvHeads: 2,
  headDim: 32,
  dtype: 'f32',
  blockSize: 8,
  initTokens: 8,
  localTokens: 8,
  topK: 3,
  representatives: 1,
  score: 'softmax',
  denseBelow: 0,
}

const unavailable = await webgpuUnavailable()

describe.skipIf(unavailable)(`selectBlocks${unavailable ? ` (${unavailable})` : ''}`, () => {
  let backend: WebgpuModelBackend
  beforeAll(async () => {
    backend = await openWebgpu()
  })
  afterAll(() => backend.dispose())

  /** The choice of the last queries of one sequence, [kvHeads][queries * topK]. @param representatives [kvHeads, blocks, headDim] */
  async function select(keys: number, q: Float32Array, representatives: Float32Array): Promise<number[][]> {
    const { memory, attention } = backend
    const { heads, kvHeads, headDim, topK } = SPEC
    const queries = q.length / heads / headDim
    const selected = memory.scope(() => {
      const layout = uploadLayout(memory, new PackedLayout([keys], SPEC.blockSize, [queries]))
      const reps = memory.upload(representatives, [kvHeads, layout.blocks, headDim])
      return attention.selectBlocks({ q: memory.upload(q, [queries, heads, headDim]), reps, layout, spec: SPEC })
    })
    const chosen = await memory.download(selected)
    selected.dispose()
    return Array.from({ length: kvHeads }, (_, kvHead) => [...chosen.slice(kvHead * queries * topK, (kvHead + 1) * queries * topK)])
  }

  test('chooses for few queries, with kernels of their own, what it chooses for many', async () => {
    const random = new RandomStream(3)
    const normal = (length: number) => Float32Array.from({ length }, () => random.normal())
    const keys = 900
    const queries = 6
    const q = normal(queries * SPEC.heads * SPEC.headDim)
    const reps = normal(SPEC.kvHeads * Math.ceil(keys / SPEC.blockSize) * SPEC.headDim)
    const many = await select(keys, q, reps)
    const few = await select(keys, q.slice(-2 * SPEC.heads * SPEC.headDim), reps)
    expect(few).toEqual(many.map((own) => own.slice(-2 * SPEC.topK)))
  })

  test('chooses the first of more equal blocks than it ranks', async () => {
    const keys = 2500
    const q = new Float32Array(SPEC.heads * SPEC.headDim).fill(0.5)
    const reps = new Float32Array(SPEC.kvHeads * Math.ceil(keys / SPEC.blockSize) * SPEC.headDim).fill(0.25)
    expect(await select(keys, q, reps)).toEqual([
      [1, 2, 3],
      [1, 2, 3],
    ])
  })
})
