import { type AttentionSpec, denseSpec, type HostArray, type Memory, PackedLayout, RandomStream, reference, uploadLayout } from '@phsa/core'
import { relativeCheck } from '@phsa/core/testing'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { attendBackward } from '../src/attention/attend-backward.js'
import { type DenseChunk, denseChunk } from '../src/attention/dense-chunk.js'
import { SequenceNumbers } from '../src/attention/sequence-numbers.js'
import { findGpu } from '../src/device/find-gpu.js'
import { GpuDevice } from '../src/device/gpu-device.js'
import { WebgpuMemory } from '../src/memory/webgpu-memory.js'
import { webgpuUnavailable } from './open-webgpu.js'

const SPEC: AttentionSpec = denseSpec({
  heads: 4,
  kvHeads: 2,
  headDim: 64,
  dtype: 'f32',
  blockSize: 16,
  initTokens: 0,
  localTokens: 32,
  topK: 2,
  representatives: 1,
  score: 'softmax',
  denseBelow: 0,
})
/** A prompt whose beginning is in the cache already, two sequences of several tiles, one without a query. */
const PACKED = new PackedLayout([100, 150, 20, 70], SPEC.blockSize, [30, 150, 0, 70])
/** Rows that belong to no sequence. */
const UNUSED = 40

describe('chunks of dense attention', () => {
  const limits = { maxStorageBufferBindingSize: 2 ** 27 }
  const layout = { sequences: 1, queryTokens: 8192, keyTokens: 8192 } as Parameters<typeof denseChunk>[2]
  const spec = { ...SPEC, heads: 16, kvHeads: 8, headDim: 128 }
  const chunk = (device: Partial<typeof limits>, own: Partial<AttentionSpec> = {}, extents = {}) =>
    denseChunk({ gpu: { limits: { ...limits, ...device } } } as never, { ...spec, ...own }, { ...layout, ...extents })

  test.each([
    { name: 'the least bindings', device: {}, own: {}, most: 2 ** 27 },
    { name: 'large ones', device: { maxStorageBufferBindingSize: 2 ** 31 }, own: {}, most: 2 ** 28 },
    { name: 'many heads of one KV head', device: {}, own: { heads: 32, kvHeads: 2 }, most: 2 ** 27 },
    { name: 'narrow heads', device: {}, own: { headDim: 64 }, most: 2 ** 27 },
  ])('fit into $name', ({ device, own, most }) => {
    const { tile, queryTiles, keyTiles } = chunk(device, own) as DenseChunk
    const bytes = (own.heads ?? spec.heads) * queryTiles * keyTiles * tile ** 2 * 4
    expect(bytes).toBeLessThanOrEqual(most)
    expect(bytes).toBeGreaterThan(most / 2)
  })

  test('are not made of sparse attention, many sequences, few keys and f16 whose sums have no room', () => {
    expect(chunk({}, { localTokens: 8176 })).toBeUndefined()
    expect(chunk({}, { localTokens: 8192 })).toBeDefined()
    expect(chunk({}, {}, { sequences: 5 })).toBeUndefined()
    expect(chunk({}, {}, { keyTokens: 2000 })).toBeUndefined()
    expect(chunk({}, { headDim: 32 })).toBeUndefined()
    expect(chunk({}, { dtype: 'f16' }, { queryTokens: 16384, keyTokens: 16384 })).toMatchObject({ tile: 128 })
    expect(chunk({}, { dtype: 'f16' }, { queryTokens: 32768, keyTokens: 32768 })).toBeUndefined()
  })
})

const unavailable = await webgpuUnavailable()

describe.skipIf(unavailable)(`gradients of dense attention${unavailable ? ` (${unavailable})` : ''}`, () => {
  let device: GpuDevice
  let memory: WebgpuMemory
  beforeAll(async () => {
    const found = await findGpu({})
    device = new GpuDevice(found.device, undefined, true)
    memory = new WebgpuMemory(device, { name: 'webgpu', supports: () => ({ ok: true }) })
  })
  afterAll(() => memory?.close())

  test('by products of chunks are those of the reference, whatever the rows of no sequence hold', async () => {
    const host = hostInput()
    const { attention, memory: plain } = await reference()
    const empty = { out: new Float32Array(host.q.length), lse: new Float32Array(PACKED.totalQueries * SPEC.heads) }
    const { out, lse } = attention.attend(inputOn(plain, host, empty, 0))
    const forward = { out: await plain.download(out), lse: await plain.download(lse) }
    const expected = attention.attendBackward(inputOn(plain, host, forward, 0))
    const chunk = { tile: 64, queryTiles: 2, keyTiles: 2 } as const
    const own = { device, memory, numbers: new SequenceNumbers(device, memory) }
    const launch = vi.spyOn(device, 'launch')
    const gradients = attendBackward(own, inputOn(memory, host, forward, UNUSED), chunk)
    // The tiles that sparse attention takes would give the same.
    const kernels = new Set(launch.mock.calls.map(([{ kernel }]) => kernel.name))
    expect([...kernels]).toEqual(['attend_delta', 'dense_weights', 'dense_scores', 'dense_sums'])
    for (const name of ['dq', 'dk', 'dv'] as const) {
      const all = await memory.download(gradients[name])
      const wanted = await plain.download(expected[name])
      const used = wanted.length
      expect(relativeCheck(name, all.subarray(0, used), wanted, 1e-5)).toMatchObject({ ok: true })
      expect([...all.subarray(used)].every((value) => value === 0)).toBe(true)
    }
  })
})

type HostInput = Readonly<Record<'q' | 'k' | 'v' | 'dOut', Float32Array>>

function hostInput(): HostInput {
  const random = new RandomStream(11)
  const rows = (tokens: number, heads: number) => Float32Array.from({ length: tokens * heads * SPEC.headDim }, () => random.normal())
  const [queries, keys] = [PACKED.totalQueries, PACKED.totalTokens]
  return { q: rows(queries, SPEC.heads), k: rows(keys, SPEC.kvHeads), v: rows(keys, SPEC.kvHeads), dOut: rows(queries, SPEC.heads) }
}

/** The tensors of a call on a backend, with lse and out of the reference, NaN in rows of no sequence. */
function inputOn(memory: Pick<Memory, 'upload'>, host: HostInput, forward: Readonly<Record<'out' | 'lse', HostArray>>, unused: number) {
  const layout = uploadLayout(memory, PACKED, { queryTokens: PACKED.totalQueries + unused, keyTokens: PACKED.totalTokens + unused })
  const upload = (values: HostArray, ...extents: readonly number[]) => {
    const width = extents.reduce((product, extent) => product * extent, 1)
    const all = new Float32Array(values.length + unused * width).fill(Number.NaN)
    all.set(values as Float32Array)
    return memory.upload(all, [all.length / width, ...extents])
  }
  const { heads, kvHeads, headDim } = SPEC
  return {
    q: upload(host.q, heads, headDim),
    k: upload(host.k, kvHeads, headDim),
    v: upload(host.v, kvHeads, headDim),
    dOut: upload(host.dOut, heads, headDim),
    out: upload(forward.out, heads, headDim),
    lse: upload(forward.lse, heads),
    selected: memory.upload(new Int32Array(0), [kvHeads, layout.queryTokens, 0]),
    layout,
    spec: SPEC,
  }
}
