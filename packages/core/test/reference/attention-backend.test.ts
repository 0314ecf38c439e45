import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type AttentionSpec,
  assertContract,
  denseSpec,
  isPhsaError,
  type ModelBackend,
  PackedLayout,
  reference,
  roundArray,
  type Tensor,
  uploadLayout,
} from '../../src/index.js'
import { attend } from '../../src/reference/attend.js'
import { poolBlocks } from '../../src/reference/pool-blocks.js'
import { selectBlocks } from '../../src/reference/select-blocks.js'
import { problem, smallSpec } from './small-problem.js'

let backend: ModelBackend
beforeEach(async () => {
  backend = await reference()
})
afterEach(() => backend.dispose())

const spec: AttentionSpec = { ...smallSpec, dtype: 'bf16' }

/** The small problem in bf16 on the backend. */
function upload() {
  const { memory } = backend
  const { q, k, v, packed } = problem(spec, [23])
  const shape = (heads: number) => [23, heads, spec.headDim]
  const rounded = { q: roundArray(q, 'bf16'), k: roundArray(k, 'bf16'), v: roundArray(v, 'bf16') }
  return {
    q: memory.upload(rounded.q, shape(spec.heads), 'bf16'),
    k: memory.upload(rounded.k, shape(spec.kvHeads), 'bf16'),
    v: memory.upload(rounded.v, shape(spec.kvHeads), 'bf16'),
    weights: { kind: 'fused' as const, weights: memory.upload(new Float32Array(23).fill(0.5), [23]) },
    layout: uploadLayout(memory, packed),
    spec,
  }
}

test('it speaks this contract, names its limits and is prepared for any valid spec', async () => {
  assertContract(backend)
  expect(backend.limits).toEqual({ dtypes: ['f32', 'bf16', 'f16', 'f64'], blocking: true })
  await backend.prepare([spec, denseSpec(spec)])
  await expect(backend.prepare([{ ...spec, topK: 65 }])).rejects.toThrow(/topK is 65; at most 64/)
})

test('16-bit inputs give 16-bit outputs and f32 in between, each the float64 result rounded once', async () => {
  const { memory, attention } = backend
  const input = upload()
  const reps = attention.poolBlocks(input)
  const selected = attention.selectBlocks({ ...input, reps })
  const { out, lse } = attention.attend({ ...input, selected })
  expect([reps.dtype, selected.dtype, out.dtype, lse.dtype]).toEqual(['f32', 'i32', 'bf16', 'f32'])

  const small = problem(spec, [23])
  const [q, k, v] = await Promise.all([input.q, input.k, input.v].map(async (tensor) => Float64Array.from(await memory.download(tensor))))
  const weights = { kind: 'fused', weights: Float64Array.from(await memory.download(input.weights.weights)) } as const
  const exactReps = roundArray(poolBlocks({ k, weights }, small.layout, spec), 'f32')
  expect(await memory.download(reps)).toEqual(exactReps)
  const chosen = selectBlocks({ q, reps: Float64Array.from(exactReps) }, small.layout, spec)
  expect(await memory.download(selected)).toEqual(chosen)
  const exact = attend({ q, k, v, selected: chosen }, small.layout, spec)
  expect(await memory.download(out)).toEqual(roundArray(exact.out, 'bf16'))
  expect(await memory.download(lse)).toEqual(roundArray(exact.lse, 'f32'))

  const gradients = attention.attendBackward({ ...input, selected, out, lse, dOut: input.q })
  expect(Object.values(gradients).map(({ dtype }: Tensor) => dtype)).toEqual(['bf16', 'bf16', 'bf16'])
})

test('gradients are added to dq, dk and dLambda', async () => {
  const { memory, attention } = backend
  const { weights, ...input } = upload()
  const branches = { kind: 'branches', global: weights.weights, punctuation: weights.weights, lambda: memory.alloc([2], 'f32') } as const
  const reps = attention.poolBlocks({ ...input, weights: branches })
  const rows = memory.upload(Int32Array.of(22), [1])
  const mass = attention.blockMass({ ...input, rows })
  const run = (start: number) => {
    const dq = memory.upload(new Float32Array(23 * 16).fill(start), input.q.shape, 'bf16')
    const dk = memory.upload(new Float32Array(23 * 8).fill(start), input.k.shape, 'bf16')
    const dLambda = memory.upload(new Float32Array(2).fill(start), [2])
    const { dReps } = attention.selectionLossBackward({ ...input, reps, mass, rows, coefficient: 64, dq })
    attention.poolBlocksBackward({ ...input, weights: branches, dReps, dk, dLambda })
    return Promise.all([dq, dk, dLambda].map((tensor) => memory.download(tensor)))
  }
  const [fromZero, fromOne] = [await run(0), await run(1)]
  for (const [index, plain] of fromZero.entries()) {
    const expected = Float32Array.from(plain, (value) => value + 1)
    for (const [at, value] of fromOne[index].entries())
      expect(Math.abs(value - expected[at])).toBeLessThanOrEqual(2 ** -7 * Math.max(1, Math.abs(expected[at])))
  }
  expect(fromZero[0].some((value) => value !== 0)).toBe(true)
  // Both branches are the same here, so lambda has no effect.
  expect([...fromZero[2]]).toEqual([0, 0])
})

test('selectTop changes the rows that are named', async () => {
  const { memory, attention } = backend
  const { layout } = upload()
  const selected = memory.upload(new Int32Array(2 * 23 * 2).fill(9), [2, 23, 2])
  const rows = memory.upload(Int32Array.of(22), [1])
  const scores = memory.upload(new Float32Array(2 * 6), [2, 1, 6])
  attention.selectTop({ scores, rows, selected, layout, spec })
  const blocks = await memory.download(selected)
  expect([...blocks.subarray(44, 46), ...blocks.subarray(90)]).toEqual([1, 2, 1, 2])
  expect(blocks.filter((block: number) => block === 9)).toHaveLength(88)
})

test('empty tensors pass through', async () => {
  const { memory, attention } = backend
  const layout = uploadLayout(memory, new PackedLayout([], 4))
  const input = { q: memory.alloc([0, 4, 4], 'bf16'), k: memory.alloc([0, 2, 4], 'bf16'), v: memory.alloc([0, 2, 4], 'bf16'), layout, spec }
  const selected = attention.selectBlocks({ ...input, reps: memory.alloc([2, 0, 4], 'f32') })
  expect((await memory.download(attention.attend({ ...input, selected }).out)).length).toBe(0)
})

describe('inputs that do not fit are refused', () => {
  const code = (run: () => unknown): unknown => {
    try {
      return run()
    } catch (error) {
      if (isPhsaError(error)) return [error.code, error.message]
      throw error
    }
  }

  test('shapes and types', () => {
    const { attention, memory } = backend
    const input = upload()
    expect(code(() => attention.poolBlocks({ ...input, k: input.q }))).toEqual([
      'shape',
      'k has shape [23, 4, 4]; this call takes [23, 2, 4].',
    ])
    const single = memory.alloc([23, 2, 4], 'f32')
    expect(code(() => attention.poolBlocks({ ...input, k: single }))).toEqual(['shape', 'k is f32; this call takes bf16.'])
    const wide = { ...input, spec: { ...spec, blockSize: 8, initTokens: 8, localTokens: 8 } }
    expect(code(() => attention.poolBlocks(wide))).toEqual([
      'shape',
      expect.stringContaining('blocks of 4 tokens, the spec has blockSize 8'),
    ])
    const dReps = attention.poolBlocks(input)
    const backward = { ...input, dReps, dk: input.k, dLambda: memory.alloc([2], 'f32') }
    expect(code(() => attention.poolBlocksBackward(backward))).toEqual(['shape', expect.stringContaining('weights of kind branches')])
  })

  test('specs', () => {
    const input = upload()
    const wrong: [Partial<AttentionSpec>, RegExp][] = [
      [{ heads: 3 }, /heads is 3; it must be a multiple of kvHeads/],
      [{ headDim: 0 }, /headDim is 0/],
      [{ initTokens: 6 }, /initTokens is 6; it must be a multiple/],
      [{ localTokens: 6 }, /localTokens is 6; it must be a multiple/],
      [{ representatives: 3 }, /representatives is 3; it must divide/],
      [{ dtype: 'i32' }, /dtype is i32; there are f32, bf16, f16, f64/],
      [{ score: 'overlap' }, /sub-blocks of 16 tokens; blockSize 4 with 2 representatives makes them 2/],
      [{ score: 'other' as 'softmax' }, /score is other/],
    ]
    for (const [change, message] of wrong) {
      expect(backend.supports({ ...spec, ...change })).toEqual({ ok: false, reason: expect.stringMatching(message) })
      expect(code(() => backend.attention.poolBlocks({ ...input, spec: { ...spec, ...change } }))).toEqual([
        'unsupported',
        expect.stringMatching(message),
      ])
    }
    // The dense window is no multiple of 48, and need not be.
    expect(backend.supports(denseSpec({ ...spec, blockSize: 48, initTokens: 0, localTokens: 48 }))).toEqual({ ok: true })
  })

  test('other backends and disposed tensors', async () => {
    const input = upload()
    const other = await reference()
    const foreign = other.memory.alloc([23, 2, 4], 'bf16')
    expect(code(() => backend.attention.poolBlocks({ ...input, k: foreign }))).toEqual([
      'backend-mismatch',
      expect.stringContaining('k belongs to another'),
    ])
    input.layout.keyStarts.dispose()
    expect(code(() => backend.attention.poolBlocks(input))).toEqual([
      'disposed',
      expect.stringContaining('layout.keyStarts [2] is disposed'),
    ])
  })
})
