import { type AttentionSpec, type HostArray, PackedLayout, RandomStream, uploadLayout } from '@phsa/core'
import { relativeCheck } from '@phsa/core/testing'
import type { WebgpuModelBackend } from '@phsa/kernels-webgpu'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openWebgpu, webgpuUnavailable } from './open-webgpu.js'

const SPEC: AttentionSpec = {
  heads: 4,
  kvHeads: 2,
  headDim: 32,
  dtype: 'f32',
  blockSize: 16,
  initTokens: 80,
  localTokens: 32,
  topK: 2,
  representatives: 1,
  score: 'softmax',
  denseBelow: 0,
}
const TOKENS = 230

/** The first and the last candidate of each query. */
function chosenBlocks(): Int32Array {
  return Int32Array.from({ length: SPEC.kvHeads * TOKENS * SPEC.topK }, (_, index) => {
    const position = Math.floor(index / SPEC.topK) % TOKENS
    const [first, last] = [SPEC.initTokens / SPEC.blockSize, Math.floor((position - SPEC.localTokens) / SPEC.blockSize)]
    if (index % SPEC.topK === 0) return last >= first ? first : -1
    return last > first ? last : -1
  })
}

const unavailable = await webgpuUnavailable()

describe.skipIf(unavailable)(`attendBackward${unavailable ? ` (${unavailable})` : ''}`, () => {
  let backend: WebgpuModelBackend
  beforeAll(async () => {
    backend = await openWebgpu()
  })
  afterAll(() => backend.dispose())

  /** Gradients of random tensors. @param maxQueries capacity of the layout, which decides how the queries of the first keys are cut */
  async function gradients(maxQueries?: number): Promise<HostArray[]> {
    const random = new RandomStream(7)
    const { memory, attention } = backend
    const results = memory.scope(() => {
      const upload = (heads: number) => {
        const values = Float32Array.from({ length: TOKENS * heads * SPEC.headDim }, () => random.normal())
        return memory.upload(values, [TOKENS, heads, SPEC.headDim])
      }
      const [q, k, v, out, dOut] = [upload(4), upload(2), upload(2), upload(4), upload(4)]
      const lse = memory.upload(new Float32Array(TOKENS * SPEC.heads).fill(4), [TOKENS, SPEC.heads])
      const selected = memory.upload(chosenBlocks(), [SPEC.kvHeads, TOKENS, SPEC.topK])
      const layout = uploadLayout(memory, new PackedLayout([TOKENS], SPEC.blockSize), { maxQueries })
      return { ...attention.attendBackward({ q, k, v, selected, layout, spec: SPEC, out, lse, dOut }) }
    })
    const downloads = await Promise.all(Object.values(results).map((tensor) => memory.download(tensor)))
    for (const tensor of Object.values(results)) tensor.dispose()
    return downloads
  }

  test('gives the same bits each time', async () => {
    expect(await gradients()).toEqual(await gradients())
  })

  test('adds up the first keys of long sequences in pieces to the same sums', async () => {
    const [whole, pieces] = [await gradients(), await gradients(20_000)]
    for (const [tensor, expected] of whole.entries()) {
      expect(relativeCheck('gradient', pieces[tensor], expected, 1e-6)).toMatchObject({ ok: true })
    }
    // Cut elsewhere, sums round otherwise.
    expect(pieces).not.toEqual(whole)
  })
})
