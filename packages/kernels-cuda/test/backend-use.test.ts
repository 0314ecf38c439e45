import {
  type AttentionBackend,
  type AttentionSpec,
  attentionSpec,
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
  ...['selection_loss_query', 'selection_loss_reps', 'append_copy', 'append_sums'],
].map((name) => `${name}_f32_d32`)
const UNTYPED = ['count_selected', 'scan_selected', 'fill_selected', 'selection_loss_total', 'pool_lambda_gradient']
const BY_HEADS = ['attend_f32_d32_h2', 'attend_query_gradient_f32_d32_h2']
/** Calls of the attention interfaces in a step. */
const CALLS_OF_STEP = 10

function open() {
  const archive = fakeArchive([...KERNELS, ...UNTYPED, ...BY_HEADS])
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
      const loss = step(backend, held)
      await backend.memory.download(loss)
      loss.dispose()
      return [driver.deviceBytes, driver.hostBytes, driver.events.size, backend.memory.usage()]
    }
    // Until the first slot of the uploads is full, and there is a second one to take turns with.
    for (let calls = 0; calls < 2000; calls += CALLS_OF_STEP) await use()
    const warm = await use()
    for (let calls = 0; calls < 10_000; calls += CALLS_OF_STEP) expect(await use()).toEqual(warm)
    expect(driver.peakDeviceBytes).toBe(driver.deviceBytes)
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
  const { attention, memory, paged } = backend
  const disposed = expect.objectContaining({ code: 'disposed' })
  const { layout, rows, batch, cache, lambda } = held
  const all = { q: tensor, k: tensor, v: tensor, selected: rows, rows, reps: tensor, mass: tensor, layout, spec }
  const weights = { kind: 'fused', weights: tensor } as const
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
    () => paged.append(cache, tensor, tensor, rows, batch),
    () => paged.selectBlocks(cache, tensor, batch),
    () => paged.attend(cache, tensor, rows, batch),
  ]
  for (const call of calls) expect(call, call.toString()).toThrow(disposed)
  await expect(memory.download(tensor)).rejects.toThrow(disposed)
  tensor.dispose()
  cache.dispose()
})
