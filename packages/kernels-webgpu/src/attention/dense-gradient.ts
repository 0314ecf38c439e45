import denseSource from '../../kernels/dense_gradient.wgsl?raw'
import pairsSource from '../../kernels/dense_pairs.wgsl?raw'
import scoresSource from '../../kernels/dense_scores.wgsl?raw'
import sumsSource from '../../kernels/dense_sums.wgsl?raw'
import weightsSource from '../../kernels/dense_weights.wgsl?raw'
import rowTilesSource from '../../kernels/row_tiles.wgsl?raw'
import { read, write } from '../device/bindings.js'
import { gridOf } from '../device/grid.js'
import type { Binding, BufferSlice } from '../device/kernel-launch.js'
import { packParams } from '../device/param-layout.js'
import type { Kernel, ShaderPart } from '../device/shader-part.js'
import { convert } from '../memory/convert.js'
import { squareParts } from '../products/square-tiles.js'
import type { AttentionHost } from './attention-host.js'
import { elementOf, packedSequences, Rules, rulesOf, Sequences } from './call-params.js'
import type { DenseChunk } from './dense-chunk.js'
import { type GradientCall, SEQUENCE_PARTS } from './gradient-call.js'

/** `Params` of dense_gradient.wgsl. */
export const DenseGradientParams = {
  sequences: Sequences,
  rules: Rules,
  firstQueryTile: 'u32',
  queryTiles: 'u32',
  firstKeyTile: 'u32',
  keyTiles: 'u32',
  member: 'u32',
} as const

const ROW_TILES = { file: 'row_tiles.wgsl', source: rowTilesSource }
const DENSE = { file: 'dense_gradient.wgsl', source: denseSource }
const PAIRS = { file: 'dense_pairs.wgsl', source: pairsSource }
const WEIGHTS = { file: 'dense_weights.wgsl', source: weightsSource }
const SCORES = { file: 'dense_scores.wgsl', source: scoresSource }
const SUMS = { file: 'dense_sums.wgsl', source: sumsSource }
const BYTES = Float32Array.BYTES_PER_ELEMENT

/** A product of a chunk. */
interface DenseProduct {
  readonly name: string
  readonly parts: readonly ShaderPart[]
  readonly constants: Readonly<Record<string, number>>
  readonly bindings: readonly Binding[]
  readonly workgroups: number
}

/** f32 memory that gradients are summed in. */
interface DenseSums {
  readonly dq: BufferSlice
  readonly dk: BufferSlice
  readonly dv: BufferSlice
}

/** Queues the gradients of dense attention, chunk by chunk as five products of matrices: added to what f32 tensors hold, instead of what f16 ones do. */
export function denseGradient(host: AttentionHost, call: GradientCall, chunk: DenseChunk): void {
  const { memory } = host
  const { heads } = call.input.spec
  const pairBytes = heads * chunk.queryTiles * chunk.keyTiles * chunk.tile ** 2 * BYTES
  withSums(host, call, (sums) =>
    memory.scratch(pairBytes, (weights) =>
      memory.scratch(pairBytes, (dScores) => {
        // The numbers of rowTile, of which those before a sequence may be left out.
        const tilesOf = (tokens: number) => Math.ceil(tokens / chunk.tile) + call.input.layout.sequences - 1
        const { queryTokens, keyTokens } = call.input.layout
        for (let firstKeyTile = 0; firstKeyTile < tilesOf(keyTokens); firstKeyTile += chunk.keyTiles) {
          for (let firstQueryTile = 0; firstQueryTile < tilesOf(queryTokens); firstQueryTile += chunk.queryTiles) {
            queueChunk(host, call, chunk, { firstQueryTile, firstKeyTile }, { sums, weights, dScores })
          }
        }
      }),
    ),
  )
}

/** Queues the products of one chunk. */
function queueChunk(
  { device, memory, numbers }: AttentionHost,
  { input, work }: GradientCall,
  { tile, queryTiles, keyTiles }: DenseChunk,
  first: { readonly firstQueryTile: number; readonly firstKeyTile: number },
  { sums, weights, dScores }: { readonly sums: DenseSums; readonly weights: BufferSlice; readonly dScores: BufferSlice },
): void {
  const { layout, spec } = input
  const group = spec.heads / spec.kvHeads
  const [q, k, v, dOut] = [input.q, input.k, input.v, input.dOut].map((tensor) => read(memory.slice(tensor)))
  const launch = ({ name, parts, constants, bindings, workgroups }: DenseProduct, member = 0) => {
    const kernel: Kernel = { name, parts: [...SEQUENCE_PARTS, ROW_TILES, ...squareParts(tile), DENSE, ...parts] }
    device.launch({
      kernel,
      element: elementOf(spec),
      constants: { HEAD_DIM: spec.headDim, GROUP: group, ...constants },
      bindings: [read(numbers.ofLayout(layout)), ...bindings],
      params: packParams(DenseGradientParams, {
        sequences: packedSequences(layout),
        rules: rulesOf(spec),
        ...first,
        queryTiles,
        keyTiles,
        member,
      }),
      grid: gridOf(workgroups),
    })
  }
  const ofPairs = {
    constants: { LEFT_TRANSPOSED: 0, RIGHT_TRANSPOSED: 1, RAGGED_DEPTH: 0 },
    workgroups: spec.heads * queryTiles * keyTiles,
  }
  launch({ ...ofPairs, name: 'dense_weights', parts: [PAIRS, WEIGHTS], bindings: [q, k, read(work), write(weights)] })
  launch({ ...ofPairs, name: 'dense_scores', parts: [PAIRS, SCORES], bindings: [dOut, v, read(work), read(weights), write(dScores)] })
  const columnTiles = spec.headDim / tile
  const ofSums = { name: 'dense_sums', parts: [SUMS] }
  const ofKeys = {
    ...ofSums,
    constants: { LEFT_TRANSPOSED: 1, RIGHT_TRANSPOSED: 0, RAGGED_DEPTH: 1, OF_QUERIES: 0 },
    workgroups: spec.kvHeads * keyTiles * columnTiles,
  }
  for (let member = 0; member < group; member++) {
    launch({ ...ofKeys, bindings: [read(weights), dOut, write(sums.dv)] }, member)
    launch({ ...ofKeys, bindings: [read(dScores), q, write(sums.dk)] }, member)
  }
  launch({
    ...ofSums,
    constants: { LEFT_TRANSPOSED: 0, RIGHT_TRANSPOSED: 0, RAGGED_DEPTH: 1, OF_QUERIES: 1 },
    bindings: [read(dScores), k, write(sums.dq)],
    workgroups: spec.heads * queryTiles * columnTiles,
  })
}

/** Runs `queue` with memory for f32 sums: that of the gradients, or, where these are f16, memory of its own that is rounded to them once. */
function withSums({ device, memory }: AttentionHost, { gradients, input }: GradientCall, queue: (sums: DenseSums) => void): void {
  const [dq, dk, dv] = [gradients.dq, gradients.dk, gradients.dv].map((tensor) => memory.slice(tensor))
  if (elementOf(input.spec) === 'f32') {
    queue({ dq, dk, dv })
    return
  }
  const { heads, kvHeads, headDim } = input.spec
  const queryNumbers = input.layout.queryTokens * heads * headDim
  const keyNumbers = input.layout.keyTokens * kvHeads * headDim
  memory.scratch(queryNumbers * BYTES, (querySums) =>
    memory.scratch(keyNumbers * BYTES, (keySums) =>
      memory.scratch(keyNumbers * BYTES, (valueSums) => {
        for (const sums of [querySums, keySums, valueSums]) device.clear(sums)
        queue({ dq: querySums, dk: keySums, dv: valueSums })
        convert(device, querySums, dq, 'f32', queryNumbers)
        convert(device, keySums, dk, 'f32', keyNumbers)
        convert(device, valueSums, dv, 'f32', keyNumbers)
      }),
    ),
  )
}
