import type { AttentionSpec, Layout } from '@phsa/core'
import { isDense } from '@phsa/core'
import keyGradientSource from '../../kernels/attend_key_gradient.wgsl?raw'
import piecesSource from '../../kernels/key_gradient_pieces.wgsl?raw'
import tensorsSource from '../../kernels/key_gradient_tensors.wgsl?raw'
import sumPiecesSource from '../../kernels/sum_key_pieces.wgsl?raw'
import { read, write } from '../device/bindings.js'
import { gridOf } from '../device/grid.js'
import { packParams } from '../device/param-layout.js'
import type { AttentionHost } from './attention-host.js'
import { elementOf, packedSequences, Rules, rulesOf, Sequences } from './call-params.js'
import { type GradientCall, gradientInputs, SEQUENCE_PARTS, TILE_PARTS } from './gradient-call.js'
import { type GradientTile, gradientTile } from './gradient-tile.js'

/** `Params` of attend_key_gradient.wgsl. */
export const KeyGradientParams = {
  sequences: Sequences,
  rules: Rules,
  ends: 'u32',
  lists: 'u32',
  chunks: 'u32',
  tiles: 'u32',
  firstKeys: 'u32',
} as const
/** `Params` of sum_key_pieces.wgsl. */
export const SumKeyPiecesParams = { sequences: Sequences, rules: Rules, tiles: 'u32' } as const

const SOURCE = { file: 'attend_key_gradient.wgsl', source: keyGradientSource }
const KEY_GRADIENT = {
  name: 'attend_key_gradient',
  parts: [...TILE_PARTS, { file: 'key_gradient_tensors.wgsl', source: tensorsSource }, SOURCE],
}
const KEY_GRADIENT_PIECES = {
  name: 'attend_key_gradient_pieces',
  parts: [...TILE_PARTS, { file: 'key_gradient_pieces.wgsl', source: piecesSource }, SOURCE],
}
const SUM_PIECES = { name: 'sum_key_pieces', parts: [...SEQUENCE_PARTS, { file: 'sum_key_pieces.wgsl', source: sumPiecesSource }] }

/** Query heads of a piece, at least, and pieces, at most: more take more memory. */
const PIECE_QUERY_HEADS = 4096
const MOST_PIECES = 32
const MOST_PIECE_BYTES = 2 ** 26
/** Threads of sum_key_pieces.wgsl. */
const SUM_THREADS = 128

/** Queues dk and dv: what queries give that see a key anyway, then, added to it, those that selected its block. */
export function keyGradient(host: AttentionHost, call: GradientCall): void {
  const { device, memory } = host
  const { layout, spec } = call.input
  const tile = gradientTile(spec, device)
  const firstKeys = firstKeysInPieces(host, call, tile)
  const launch = (own: GradientTile, tiles: number, isSelected: boolean) =>
    device.launch({
      kernel: KEY_GRADIENT,
      element: elementOf(spec),
      constants: { ...own, GROUP: spec.heads / spec.kvHeads, SELECTED: isSelected ? 1 : 0, PIECES: 1 },
      bindings: [...gradientInputs(host, call), write(memory.slice(call.gradients.dk)), write(memory.slice(call.gradients.dv))],
      params: keyGradientParams(call, tiles, firstKeys),
      grid: gridOf(tiles * spec.kvHeads),
    })
  launch(tile, Math.floor(layout.keyTokens / tile.OWNED) + layout.sequences, false)
  if (!call.lists) return
  const own = gradientTile(spec, device, spec.blockSize)
  launch(own, layout.blocks * (spec.blockSize / own.OWNED), true)
}

/** Queues the gradients of the first keys, which all queries see, where these are many. Returns how many keys of each sequence are done. */
function firstKeysInPieces(host: AttentionHost, call: GradientCall, tile: GradientTile): number {
  const { device, memory } = host
  const { layout, spec } = call.input
  const tiles = isDense(spec) ? 0 : Math.ceil(spec.initTokens / tile.OWNED)
  const count = layout.sequences * tiles * spec.kvHeads
  const tileBytes = tile.OWNED * 2 * spec.headDim * Float32Array.BYTES_PER_ELEMENT
  const pieces = piecesOf(spec, layout, count * tileBytes)
  if (count === 0 || pieces < 2) return 0
  const common = { sequences: packedSequences(layout), rules: rulesOf(spec), tiles }
  memory.scratch(count * pieces * tileBytes, (sums) => {
    device.launch({
      kernel: KEY_GRADIENT_PIECES,
      element: elementOf(spec),
      constants: { ...tile, GROUP: spec.heads / spec.kvHeads, SELECTED: 0, PIECES: pieces },
      bindings: [...gradientInputs(host, call), write(sums)],
      params: keyGradientParams(call, tiles, 0),
      grid: gridOf(count * pieces),
    })
    device.launch({
      kernel: SUM_PIECES,
      element: elementOf(spec),
      constants: { HEAD_DIM: spec.headDim, OWNED: tile.OWNED, PIECES: pieces },
      bindings: [
        read(host.numbers.ofLayout(layout)),
        read(sums),
        write(memory.slice(call.gradients.dk)),
        write(memory.slice(call.gradients.dv)),
      ],
      params: packParams(SumKeyPiecesParams, common),
      grid: gridOf(Math.ceil((count * tile.OWNED * (spec.headDim / 4)) / SUM_THREADS)),
    })
  })
  return tiles * tile.OWNED
}

/** Pieces that the queries of the first keys are cut into: a power of two, because kernels are compiled for it. @param bytes of one piece of all */
function piecesOf({ heads, kvHeads }: AttentionSpec, { maxQueries }: Layout, bytes: number): number {
  const queryHeads = maxQueries * (heads / kvHeads)
  const most = Math.min(MOST_PIECES, queryHeads / PIECE_QUERY_HEADS, MOST_PIECE_BYTES / Math.max(1, bytes))
  return 2 ** Math.floor(Math.log2(Math.max(1, most)))
}

function keyGradientParams({ input, lists }: GradientCall, tiles: number, firstKeys: number) {
  return packParams(KeyGradientParams, {
    sequences: packedSequences(input.layout),
    rules: rulesOf(input.spec),
    ...(lists ?? { ends: 0, lists: 0, chunks: 0 }),
    tiles,
    firstKeys,
  })
}
