import type { AttendBackwardInput, AttendGradients } from '@phsa/core'
import forcedKeysSource from '../../kernels/forced_keys.wgsl?raw'
import gradientTilesSource from '../../kernels/gradient_tiles.wgsl?raw'
import gridSource from '../../kernels/grid.wgsl?raw'
import rowTilesSource from '../../kernels/row_tiles.wgsl?raw'
import sequencesSource from '../../kernels/sequences.wgsl?raw'
import { read } from '../device/bindings.js'
import type { Binding, BufferSlice } from '../device/kernel-launch.js'
import type { AttentionHost } from './attention-host.js'

/** Parts of every kernel over packed sequences. */
export const SEQUENCE_PARTS = [
  { file: 'grid.wgsl', source: gridSource },
  { file: 'sequences.wgsl', source: sequencesSource },
]
/** Parts of the kernels that work in tiles of gradient_tiles.wgsl. */
export const TILE_PARTS = [
  ...SEQUENCE_PARTS,
  { file: 'row_tiles.wgsl', source: rowTilesSource },
  { file: 'forced_keys.wgsl', source: forcedKeysSource },
  { file: 'gradient_tiles.wgsl', source: gradientTilesSource },
]

/** The lists of queries by block, in `work`: places in numbers of 4 bytes. */
export interface ListPlaces {
  readonly ends: number
  readonly lists: number
  readonly chunks: number
}

/** What the gradient kernels work with. */
export interface GradientCall {
  readonly input: AttendBackwardInput
  readonly gradients: AttendGradients
  /** u32: pairs of lse and delta, [Tq, Hq], then the lists. */
  readonly work: BufferSlice
  /** Undefined where nothing is selected. */
  readonly lists: ListPlaces | undefined
}

/** Bindings 0 to 5 of the gradient kernels. */
export function gradientInputs({ memory, numbers }: AttentionHost, { input, work }: GradientCall): Binding[] {
  const { q, k, v, dOut, layout } = input
  const tensors = [q, k, v, dOut].map((tensor) => memory.slice(tensor))
  return [numbers.ofLayout(layout), ...tensors, work].map(read)
}
