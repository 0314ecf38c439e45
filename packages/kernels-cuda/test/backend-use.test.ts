import {
  type AttentionBackend,
  type AttentionSpec,
  attentionSpec,
  type ModelBackend,
  PackedLayout,
  type PagedBatch,
  PHSA_4K,
  phsaAttention,
  phsaAttentionBackward,
  reference,
  type Tensor,
  uploadLayout,
} from '@phsa/core'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { LoadedKernels } from '../src/driver/loaded-kernels.js'
import { openBackend } from '../src/open-backend.js'
import { FakeDriver, fakeArchive } from './fake-driver.js'

const spec = attentionSpec(PHSA_4K, { heads: 4, kvHeads: 2, headDim: 32, dtype: 'f32' })
/** A case of the kernels for Hopper. */
const hopperSpec = attentionSpec(PHSA_4K, { heads: 4, kvHeads: 2, headDim: 128, dtype: 'bf16' })
const TOKENS = 40
const packed = new PackedLayout([TOKENS], spec.blockSize)
/** The readable kernels of `step` for `spec`. */
const KERNELS = [
  ...['pool_blocks', 'pool_blocks_backward', 'select_blocks', 'attend_delta', 'attend_key_gradient', 'block_mass', 'selection_loss'],
  ...['selection_loss_query', 'selection_loss_reps', 'append_tokens'],
].map((name) => `${name}_f32_d32`)
const UNTYPED = ['count_selected', 'scan_selected', 'fill_selected', 'selection_loss_total', 'pool_lambda_gradient']
/** Those of `modelStep` in f32; matrix products without cuBLASLt. */
const OPS = [
  ...['embedding_16', 'embedding_backward_f32_f32_vector', 'embedding_join_f32_vector'],
  ...['count_token_digits', 'place_token_digits', 'order_tokens'],
  ...['rms_norm_f32_f32_w1', 'rms_norm_backward_f32_f32_w1', 'add_column_sums_f32'],
  ...['qk_norm_rope_f32_f32_vector', 'qk_norm_rope_backward_f32_f32_vector'],
  ...['add_f32', 'swiglu_f32', 'swiglu_backward_f32', 'gradient_squares', 'gradient_total', 'adamw_step'],
  ...['sample_largest_f32_vector', 'sample_bins_f32_vector', 'sample_f32_vector'],
]
const BY_HEADS = ['attend_f32_d32_h2', 'attend_query_gradient_f32_d32_h2']
/** Calls of the attention interfaces in a step, and of the ops. */
const CALLS_OF_STEP = 10 + 13

function open() {
  const archive = fakeArchive([...KERNELS, ...UNTYPED, ...OPS, ...BY_HEADS])
  const driver = new FakeDriver({ deviceBytes: 2 ** 25 }, archive)
  return { driver, backend: openBackend(driver, archive, 0) }
}

/** What lives as long as a run: a layout, sampled rows, weights, and a cache with one sequence. */
function state(backend: AttentionBackend, spec: AttentionSpec) {
  const { memory } = backend
  const integers = (...values: number[]) => memory.upload(Int32Array.from(values), [values.length])
  const lambda = memory.upload(Float32Array.of(0.5, 0.5), [2])
  const batch: PagedBatch = {
    sequences: 1,
    queryTokens: TOKENS,
    maxQueries: TOKENS,
    maxKeys: 64,
    maxTopK: spec.topK,
    queryStarts: integers(0, TOKENS),
    keyLengths: integers(TOKENS),
    pageTable: memory.upload(Int32Array.of(0), [1, 1]),
    topK: integers(spec.topK),
    denseBelow: integers(0),
  }
  return {
    batch,
    spec,
    lambda,
    layout: uploadLayout(memory, packed),
    rows: integers(30, 39),
    global: memory.alloc([TOKENS], 'f32'),
    punctuation: memory.alloc([TOKENS], 'f32'),
    cache: backend.paged.createCache({ spec, pages: 1, pageTokens: 64, lambda }),
  }
}

/** A training step with distillation and a step of inference; its loss. */
function step(backend: AttentionBackend, held: ReturnType<typeof state>): Tensor {
  const { batch, spec, lambda, layout, rows, global, punctuation, cache } = held
  const { attention, memory, paged } = backend
  return memory.scope(() => {
    const tokens = (heads: number) =>
      memory.upload(new Float32Array(TOKENS * heads * spec.headDim), [TOKENS, heads, spec.headDim], spec.dtype)
    const [q, k, v] = [tokens(spec.heads), tokens(spec.kvHeads), tokens(spec.kvHeads)]
    const weights = { kind: 'branches', global, punctuation, lambda } as const
    const input = { q, k, v, weights, layout, spec }
    const output = phsaAttention(backend, input)
    const { dq, dk } = phsaAttentionBackward(backend, output.out, input, output)
    const reps = attention.poolBlocks({ k, weights, layout, spec })
    const mass = attention.blockMass({ q, k, rows, layout, spec })
    const { loss, dReps } = attention.selectionLossBackward({ q, reps, mass, rows, layout, spec, coefficient: 1, dq })
    attention.poolBlocksBackward({ k, weights, layout, spec, dReps, dk, dLambda: memory.alloc([spec.kvHeads], 'f32') })
    paged.append(cache, k, v, global, batch)
    paged.attend(cache, q, paged.selectBlocks(cache, q, batch), batch)
    return loss
  })
}

/** Every op but the matrix products, forward and backward; the token that it draws. */
function modelStep({ memory, ops }: ModelBackend): Tensor {
  return memory.scope(() => {
    const [vocabulary, width] = [64, 32]
    const table = memory.alloc([vocabulary, width], 'f32')
    const [dTable, mean, variance] = [table, table, table].map(({ shape }) => memory.alloc(shape, 'f32'))
    const ids = memory.upload(
      Int32Array.from({ length: TOKENS }, (_, token) => token),
      [TOKENS],
    )
    const [weight, dWeight] = [memory.alloc([width], 'f32'), memory.alloc([width], 'f32')]
    const angles = memory.alloc([TOKENS, width / 2], 'f32')
    const hidden = ops.embedding(table, ids)
    const normed = ops.rmsNorm(hidden, weight, 1e-6)
    const heads = {
      x: memory.reshape(normed, [TOKENS, 1, width]),
      weight,
      positions: ids,
      rope: { cos: angles, sin: angles },
      epsilon: 1e-6,
    }
    const rotated = memory.reshape(ops.qkNormRope(heads), [TOKENS, width])
    const { dGate, dUp } = ops.swigluBackward(rotated, normed, ops.swiglu(normed, rotated))
    const change = ops.add(dGate, dUp)
    ops.qkNormRopeBackward(memory.reshape(change, [TOKENS, 1, width]), heads, dWeight)
    ops.embeddingBackward(ops.rmsNormBackward(change, hidden, weight, 1e-6, dWeight), ids, dTable)
    const norm = ops.gradientNorm([dTable, dWeight], 1)
    const control = memory.upload(Float32Array.of(1e-3, 0.1, 0.1), [3])
    ops.adamw([{ value: table, gradient: dTable, mean, variance, weightDecay: 0 }], control, norm, {
      beta1: 0.9,
      beta2: 0.99,
      epsilon: 1e-8,
    })
    return ops.sample(change, memory.alloc([TOKENS, 5], 'f32'))
  })
}

/** All kernels that are asked for, as on Hopper: each is the same one, which does nothing. */
function haveAllKernels() {
  const { get } = LoadedKernels.prototype
  vi.spyOn(LoadedKernels.prototype, 'has').mockReturnValue(true)
  vi.spyOn(LoadedKernels.prototype, 'get').mockImplementation(function (this: LoadedKernels) {
    return get.call(this, 'pool_blocks_f32_d32', 0)
  })
}

afterEach(() => void vi.restoreAllMocks())

describe.each([
  ['readable', spec, () => {}],
  ['Hopper', hopperSpec, haveAllKernels],
])('%s kernels', (_, spec, prepare) => {
  test('10,000 calls take no more memory than a few', async () => {
    prepare()
    const { driver, backend } = open()
    const held = state(backend, spec)
    const use = async () => {
      for (const result of [step(backend, held), modelStep(backend)]) {
        await backend.memory.download(result)
        result.dispose()
      }
      return [driver.deviceBytes, driver.hostBytes, driver.events.size, backend.memory.usage()]
    }
    // Until the first slot of the uploads is full, and there is a second one to take turns with.
    for (let calls = 0; calls < 5000; calls += CALLS_OF_STEP) await use()
    const warm = await use()
    for (let calls = 0; calls < 10_000; calls += CALLS_OF_STEP) expect(await use()).toEqual(warm)
    expect(driver.memory.peakDeviceBytes).toBe(driver.deviceBytes)
    backend.dispose()
    expect([driver.deviceBytes, driver.hostBytes, driver.events.size]).toEqual([0, 0, 0])
  })
})

test('out of memory in the middle of a step leaves nothing of it', async () => {
  const { driver, backend } = open()
  const held = state(backend, spec)
  const before = backend.memory.usage()
  driver.failures.set('cuMemAlloc', [...Array<number>(6).fill(0), 2, 2])
  expect(() => step(backend, held)).toThrow(/needs \d+ bytes; \d+ of \d+ are free on the GPU/)
  expect(backend.memory.usage()).toEqual(before)
  driver.failures.clear()
  await backend.memory.download(step(backend, held))
})

test('tensors and caches of another backend are refused', async () => {
  const [{ backend }, other] = [open(), await reference()]
  const held = state(backend, spec)
  const foreign = state(other, spec)
  const mismatch = expect.objectContaining({ code: 'backend-mismatch' })
  for (const name of ['lambda', 'global', 'rows', 'layout', 'batch', 'cache'] as const) {
    expect(() => step(backend, { ...held, [name]: foreign[name] }), name).toThrow(mismatch)
  }
  other.dispose()
})

test('a disposed backend says so, whatever is called', async () => {
  const { backend } = open()
  const held = state(backend, spec)
  const tensor = backend.memory.alloc([TOKENS, 4, 32], 'f32')
  backend.dispose()
  const { attention, memory, ops, paged } = backend
  const disposed = expect.objectContaining({ code: 'disposed' })
  const { layout, rows, batch, cache, lambda } = held
  const all = { q: tensor, k: tensor, v: tensor, selected: rows, rows, reps: tensor, mass: tensor, layout, spec }
  const weights = { kind: 'fused', weights: tensor } as const
  const heads = { x: tensor, weight: tensor, positions: rows, rope: { cos: tensor, sin: tensor }, epsilon: 1 }
  const losses = { hidden: tensor, head: tensor, targets: rows, weights: tensor }
  const calls: (() => unknown)[] = [
    () => memory.alloc([1], 'f32'),
    () => memory.upload(Float32Array.of(1), [1]),
    () => memory.zero(tensor),
    () => memory.scope(() => 0),
    () => attention.poolBlocks({ ...all, weights }),
    () => attention.poolBlocksBackward({ ...all, weights, dReps: tensor, dk: tensor }),
    () => attention.selectBlocks(all),
    () => attention.selectTop({ ...all, scores: tensor }),
    () => attention.attend(all),
    () => attention.attendBackward({ ...all, dOut: tensor, out: tensor, lse: tensor }),
    () => attention.blockMass(all),
    () => attention.selectionLoss(all),
    () => attention.selectionLossBackward({ ...all, coefficient: 1, dq: tensor }),
    () => paged.createCache({ spec, pages: 1, pageTokens: 64, lambda }),
    () => ops.add(tensor, tensor),
    () => ops.swiglu(tensor, tensor),
    () => ops.swigluBackward(tensor, tensor, tensor),
    () => ops.embedding(tensor, rows),
    () => ops.embeddingBackward(tensor, rows, tensor),
    () => ops.rmsNorm(tensor, tensor, 1),
    () => ops.rmsNormBackward(tensor, tensor, tensor, 1, tensor),
    () => ops.qkNormRope(heads),
    () => ops.qkNormRopeBackward(tensor, heads, tensor),
    () => ops.linear(tensor, tensor),
    () => ops.linearBackward(tensor, tensor, tensor, tensor),
    () => ops.crossEntropy(losses),
    () => ops.crossEntropyBackward(losses, tensor),
    () => ops.gradientNorm([tensor], 1),
    () => ops.adamw([], tensor, tensor, { beta1: 0.9, beta2: 0.99, epsilon: 1 }),
    () => ops.sample(tensor, tensor),
    () => paged.append(cache, tensor, tensor, rows, batch),
    () => paged.selectBlocks(cache, tensor, batch),
    () => paged.attend(cache, tensor, rows, batch),
    () => paged.step?.(cache, { q: tensor, k: tensor, v: tensor, marks: rows }, batch),
  ]
  for (const call of calls) expect(call, call.toString()).toThrow(disposed)
  await expect(memory.download(tensor)).rejects.toThrow(disposed)
  tensor.dispose()
  cache.dispose()
})
