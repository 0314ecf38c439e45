import { type AttentionSpec, type CachedLayer, type DecodeLayersInput, denseSpec, type Tensor } from '@phsa/core'
import { expect, test } from 'vitest'
import type { KernelLaunch } from '../src/driver/kernel-launch.js'
import { openBackend } from '../src/open-backend.js'
import { cudaDecodeLayers } from '../src/paged/cuda-decode-layers.js'
import { DecodeLayersParams, LayerParams } from '../src/paged/decode-layers-params.js'
import { FakeDriver, fakeArchive } from './fake-driver.js'
import { HOPPER_SPEC } from './hopper-spec.js'

// A model of any widths will do: which there are kernels for is what the device says.
const [WIDTH, INNER, HEADS, KV_HEADS] = [64, 96, 2, 1]
const KERNEL = 'decode_layers_sm90_w64_i96_h2_kv1'
const SPEC: AttentionSpec = { ...HOPPER_SPEC, heads: HEADS, kvHeads: KV_HEADS }

test('a backend has it only where it is asked for', () => {
  const archive = fakeArchive([KERNEL])
  const open = (...options: boolean[]) => openBackend(new FakeDriver({}, archive), archive, 0, false, ...options)
  expect(open().decodeLayers).toBeUndefined()
  expect(open(false).decodeLayers).toBeUndefined()
  expect(open(true).decodeLayers).toBeTypeOf('function')
})

test('one launch has all layers, and all its thread blocks at once', () => {
  const { launches, taken } = launchesOf({ layers: 24 })
  expect(taken).toBe(true)
  expect(launches).toMatchObject([{ kernel: KERNEL, grid: [128, 1, 1], block: 256, sharedBytes: 227 * 1024, together: true }])
})

test('more layers than parameters have room for are even launches, each on what the one before gives', () => {
  const { launches } = launchesOf({ layers: 28 })
  const [first, second] = launches.map(({ params }) => ({ pointers: new BigUint64Array(params.slice().buffer), params }))
  expect(launches.length).toBe(2)
  const [layers, most] = DecodeLayersParams.layers
  // A layer's two integers are a place of 8 bytes.
  const at = most * (Object.keys(layers).length - 1)
  const [x, y, exchange] = [at, at + 1, at + Object.keys(DecodeLayersParams).indexOf('exchange') - 1]
  expect(second.pointers[x]).toBe(first.pointers[y])
  expect(second.pointers[exchange]).toBe(first.pointers[exchange])
  const norms = (pointers: BigUint64Array) => {
    const every = Object.keys(LayerParams).length - 1
    return Array.from({ length: most }, (_, layer) => pointers[layer * every]).filter((pointer) => pointer !== 0n).length
  }
  expect([norms(first.pointers), norms(second.pointers)]).toEqual([14, 14])
})

test.each<[boolean, string, Partial<Case>]>([
  [true, 'a dense layer among others', { specs: [SPEC, denseSpec(SPEC)] }],
  [true, 'layers that keep other blocks', { specs: [SPEC, { ...SPEC, initTokens: 16, localTokens: 64 }] }],
  [true, 'the score logit', { specs: [{ ...SPEC, score: 'logit' }] }],
  [true, 'the longest context', { maxKeys: 4096 }],
  [false, 'a longer context', { maxKeys: 4160 }],
  [false, 'two sequences', { sequences: 2, tokens: 2 }],
  [false, 'two tokens', { tokens: 2 }],
  [false, 'f32', { dtype: 'f32' }],
  [false, 'norms in f32', { normType: 'f32' }],
  [false, 'another head dimension', { specs: [{ ...SPEC, headDim: 64 }] }],
  [false, 'another block size', { specs: [{ ...SPEC, blockSize: 32 }] }],
  [false, 'several representatives a block', { specs: [{ ...SPEC, representatives: 2 }] }],
  [false, 'the score overlap', { specs: [{ ...SPEC, score: 'overlap' }] }],
  [false, 'scores of two kinds', { specs: [SPEC, { ...SPEC, score: 'logit' }] }],
  [false, 'pages of two sizes', { pageTokens: [64, 32] }],
  [false, 'no layers', { layers: 0 }],
  [false, 'a model that there is no kernel for', { kernel: 'decode_layers_sm90_w1024_i3072_h16_kv8' }],
  [false, 'fewer multiprocessors than thread blocks', { multiprocessors: 114 }],
  [false, 'less shared memory', { sharedBytes: 99 * 1024 }],
])('taken %s: %s', (isTaken, _name, change) => {
  const { taken, launches } = launchesOf(change)
  expect([taken, launches.length > 0]).toEqual([isTaken, isTaken])
})

test('weights of another width are refused', () => {
  expect(() => launchesOf({ gateWidth: 32 })).toThrow(expect.objectContaining({ code: 'shape' }))
})

interface Case {
  readonly layers: number
  /** Of the layers, by turns. */
  readonly specs: readonly AttentionSpec[]
  readonly pageTokens: readonly number[]
  readonly sequences: number
  readonly tokens: number
  readonly maxKeys: number
  readonly dtype: 'bf16' | 'f32'
  readonly normType: 'bf16' | 'f32'
  readonly gateWidth: number
  readonly kernel: string
  readonly multiprocessors: number
  readonly sharedBytes: number
}

/** What a GPU is given to do, and whether it took it. */
function launchesOf(change: Partial<Case>) {
  const { specs = [SPEC], pageTokens = [64], sequences = 1, tokens = 1, maxKeys = 1024, dtype = 'bf16', gateWidth = WIDTH } = change
  const {
    layers = specs.length * pageTokens.length,
    normType = dtype,
    kernel = KERNEL,
    multiprocessors = 132,
    sharedBytes = 232448,
  } = change
  const { memory, paged } = openBackend(new FakeDriver(), fakeArchive(), 0)
  const launches: KernelLaunch[] = []
  const device = {
    multiprocessors,
    sharedBytes,
    hasKernel: (name: string) => name === kernel,
    launch: (launch: KernelLaunch) => void launches.push(launch),
  }
  const make = (...shape: number[]) => memory.alloc(shape, dtype)
  const layer = (index: number): CachedLayer => {
    const spec = { ...specs[index % specs.length], dtype }
    const [heads, keys] = [spec.heads * spec.headDim, spec.kvHeads * spec.headDim]
    const norm = (width: number) => memory.alloc([width], normType)
    return {
      ...{ inputNorm: norm(WIDTH), postNorm: norm(WIDTH), qNorm: norm(spec.headDim), kNorm: norm(spec.headDim) },
      ...{ q: make(heads, WIDTH), k: make(keys, WIDTH), v: make(keys, WIDTH), o: make(WIDTH, heads) },
      ...{ gate: make(INNER, gateWidth), up: make(INNER, WIDTH), down: make(WIDTH, INNER) },
      cache: paged.createCache({
        spec,
        pages: 2,
        pageTokens: pageTokens[index % pageTokens.length],
        lambda: memory.alloc([spec.kvHeads], 'f32'),
      }),
    }
  }
  const integers = (...shape: number[]) => memory.alloc(shape, 'i32')
  const table = (): Tensor => memory.alloc([8, specs[0].headDim / 2], 'f32')
  const input: DecodeLayersInput = {
    layers: Array.from({ length: layers }, (_, index) => layer(index)),
    ...{ x: make(tokens, WIDTH), positions: integers(tokens), marks: memory.alloc([tokens], 'f32') },
    ...{ rope: { cos: table(), sin: table() }, epsilon: 1e-6 },
    batch: {
      ...{ sequences, queryTokens: tokens, maxQueries: tokens / sequences, maxKeys, maxTopK: SPEC.topK },
      ...{ queryStarts: integers(sequences + 1), keyLengths: integers(sequences), pageTable: integers(sequences, 2) },
      ...{ topK: integers(sequences), denseBelow: integers(sequences) },
    },
  }
  return { taken: cudaDecodeLayers(device, memory)(input) !== undefined, launches }
}
