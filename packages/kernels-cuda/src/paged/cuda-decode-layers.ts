import { type AttentionSpec, type CachedLayer, checkDecodeLayers, type DecodeLayersInput, isDense, type Tensor } from '@phsa/core'
import { rulesOf } from '../attention/call-params.js'
import type { KernelDevice, KernelMemory } from '../attention/kernel-host.js'
import { type ParamValues, packParams } from '../attention/param-layout.js'
import type { CudaPagedCache } from './cuda-paged-cache.js'
import { DecodeLayersParams, type LayerParams } from './decode-layers-params.js'
import { hasSelectPaged } from './select-paged.js'

// As in layer_shape.cuh.
const TEAM = 128
const THREADS = 256
const HEAD_DIM = 128
const BLOCK_SIZE = 16
/** Thread blocks of a KV head. */
const PARTS = 16
/** Shared memory of a thread block: all that a Hopper GPU gives. */
const SHARED_BYTES = 227 * 1024
/** Keys of a context at most: pages have a block or more, and all page numbers have a place in shared memory. */
const MOST_KEYS = 4096
/** Layers of a launch at most, whose parameters have 4 KB. */
const MOST_LAYERS = DecodeLayersParams.layers[1]
const PLACE_BYTES = 8

/** What the kernel needs of a device. */
export interface DecodeLayersDevice extends KernelDevice {
  /** Shared memory that a thread block may have at most. */
  readonly sharedBytes: number
}

/** Sizes of a model. */
interface LayerShape {
  readonly width: number
  readonly inner: number
  readonly heads: number
  readonly kvHeads: number
}

/**
 * `ModelBackend.decodeLayers`: launches that stay on the GPU for many layers. Taken for one sequence's one token, where a multiprocessor is there for each of the
 * thread blocks, a kernel for the model's shape, and a context of at most 4,096 keys; everything else is left to launches of their own. See `CudaOptions`.
 */
export function cudaDecodeLayers(device: DecodeLayersDevice, memory: KernelMemory): (input: DecodeLayersInput) => Tensor | undefined {
  return (input) => {
    memory.checkOpen()
    checkDecodeLayers(memory.owner, input)
    const { layers, x } = input
    if (!isTaken(device, input)) return undefined
    const exchange = (layers[0].cache as CudaPagedCache).exchange(PLACE_BYTES * placesOf(shapeOf(input)))
    // As even as possible: a launch of few layers takes nearly as long to begin.
    const launches = Math.ceil(layers.length / MOST_LAYERS)
    const atOnce = Math.ceil(layers.length / launches)
    return memory.scope(() => {
      let output = x
      for (let first = 0; first < layers.length; first += atOnce) {
        const next = memory.make(x.shape, x.dtype)
        launch(device, memory, input, { layers: layers.slice(first, first + atOnce), x: output, y: next, exchange })
        output = next
      }
      return output
    })
  }
}

function isTaken(device: DecodeLayersDevice, input: DecodeLayersInput): boolean {
  const { layers, x, batch } = input
  const isOne = batch.sequences === 1 && batch.queryTokens === 1 && batch.maxKeys <= MOST_KEYS
  if (layers.length === 0 || !isOne || x.dtype !== 'bf16' || !layers.every((layer) => isTakenLayer(layer, layers[0]))) return false
  return device.multiprocessors >= TEAM && device.sharedBytes >= SHARED_BYTES && device.hasKernel(kernelOf(shapeOf(input)))
}

/** Whether the kernel has a layer, and all its layers are like it but for what they select. */
function isTakenLayer({ cache, inputNorm, postNorm, qNorm, kNorm }: CachedLayer, first: CachedLayer): boolean {
  const [own, other] = [cache.options, first.cache.options]
  const { heads, kvHeads, score } = other.spec
  const isAlike =
    own.pageTokens === other.pageTokens && own.spec.heads === heads && own.spec.kvHeads === kvHeads && own.spec.score === score
  return isAlike && isTakenSpec(own.spec) && [inputNorm, postNorm, qNorm, kNorm].every(({ dtype }) => dtype === 'bf16')
}

function isTakenSpec(spec: AttentionSpec): boolean {
  const isShape = spec.dtype === 'bf16' && spec.headDim === HEAD_DIM && spec.blockSize === BLOCK_SIZE && spec.representatives === 1
  return isShape && (hasSelectPaged(spec) || isDense(spec))
}

interface LayersLaunch {
  readonly layers: readonly CachedLayer[]
  readonly x: Tensor
  readonly y: Tensor
  readonly exchange: bigint
}

function launch(
  device: DecodeLayersDevice,
  memory: KernelMemory,
  input: DecodeLayersInput,
  { layers, x, y, exchange }: LayersLaunch,
): void {
  const { positions, marks, rope, epsilon, batch } = input
  const { spec, pageTokens } = layers[0].cache.options
  device.launch({
    kernel: kernelOf(shapeOf(input)),
    grid: [TEAM, 1, 1],
    block: THREADS,
    sharedBytes: SHARED_BYTES,
    together: true,
    params: packParams(DecodeLayersParams, {
      layers: layers.map((layer) => layerParams(memory, layer)),
      x: memory.address(x),
      y: memory.address(y),
      positions: memory.address(positions),
      cos: memory.address(rope.cos),
      sin: memory.address(rope.sin),
      marks: memory.address(marks),
      queryStarts: memory.address(batch.queryStarts),
      keyLengths: memory.address(batch.keyLengths),
      pageTable: memory.address(batch.pageTable),
      topK: memory.address(batch.topK),
      denseBelow: memory.address(batch.denseBelow),
      exchange,
      layersUsed: layers.length,
      pages: Math.min(batch.pageTable.shape[1], Math.ceil(MOST_KEYS / pageTokens)),
      pageTokens,
      mostTopK: batch.maxTopK,
      score: rulesOf(spec).score,
      epsilon,
    }),
  })
}

function layerParams(memory: KernelMemory, layer: CachedLayer): ParamValues<typeof LayerParams> {
  const { inputNorm, postNorm, q, k, v, qNorm, kNorm, o, gate, up, down, cache } = layer
  const { spec, lambda } = cache.options
  const { keyPages, valuePages, reps, markedSums, marked, halfReps } = (cache as CudaPagedCache).addresses
  const { initBlocks, localBlocks } = rulesOf(spec)
  return {
    norm: memory.address(inputNorm),
    q: memory.address(q),
    k: memory.address(k),
    v: memory.address(v),
    qNorm: memory.address(qNorm),
    kNorm: memory.address(kNorm),
    o: memory.address(o),
    postNorm: memory.address(postNorm),
    gate: memory.address(gate),
    up: memory.address(up),
    down: memory.address(down),
    ...{ keyPages, valuePages, reps, markedSums, marked, halfReps, lambda: memory.address(lambda), initBlocks, localBlocks },
  }
}

function shapeOf({ x, layers: [{ gate, cache }] }: DecodeLayersInput): LayerShape {
  const { heads, kvHeads } = cache.options.spec
  return { width: x.shape[1], inner: gate.shape[0], heads, kvHeads }
}

function kernelOf({ width, inner, heads, kvHeads }: LayerShape): string {
  return `decode_layers_sm90_w${width}_i${inner}_h${heads}_kv${kvHeads}`
}

/** LayerShape::kPlaces: the last tag, two vectors of the model's width, heads before and after attention, its parts and their sums, the inner vector. */
function placesOf({ width, inner, heads, kvHeads }: LayerShape): number {
  const attended = heads * HEAD_DIM
  return 2 + width + attended + kvHeads * HEAD_DIM + PARTS * (attended + 2 * heads) + inner / 2
}
