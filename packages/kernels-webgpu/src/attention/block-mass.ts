import type { BlockMassInput, Tensor } from '@phsa/core'
import gridSource from '../../kernels/grid.wgsl?raw'
import logSumsSource from '../../kernels/log_sums.wgsl?raw'
import massBlocksSource from '../../kernels/mass_blocks.wgsl?raw'
import massRowsSource from '../../kernels/mass_rows.wgsl?raw'
import massTilesSource from '../../kernels/mass_tiles.wgsl?raw'
import productTileSource from '../../kernels/product_tile.wgsl?raw'
import sequencesSource from '../../kernels/sequences.wgsl?raw'
import { read, write } from '../device/bindings.js'
import { gridOf } from '../device/grid.js'
import { packParams } from '../device/param-layout.js'
import type { AttentionHost } from './attention-host.js'
import { elementOf, packedSequences, Rules, rulesOf, Sequences } from './call-params.js'
import { productStages, TILE } from './product-tile.js'

/** `Params` of mass_rows.wgsl. */
export const MassRowsParams = {
  sequences: Sequences,
  rules: Rules,
  count: 'u32',
  maxBlocks: 'u32',
  firstItem: 'u32',
  items: 'u32',
  tileRows: 'u32',
  runs: 'u32',
} as const

/** Keys of a sum. */
const RUN_KEYS = 8
const SUM_BYTES = 8
/** Sums in memory at once; more rows are worked in parts. */
const MOST_SUM_BYTES = 2 ** 26
/** Threads of a workgroup of mass_blocks.wgsl. */
const THREADS = 128

const SHARED_PARTS = [
  { file: 'grid.wgsl', source: gridSource },
  { file: 'sequences.wgsl', source: sequencesSource },
  { file: 'mass_rows.wgsl', source: massRowsSource },
  { file: 'log_sums.wgsl', source: logSumsSource },
]
const TILES = {
  name: 'mass_tiles',
  parts: [...SHARED_PARTS, { file: 'product_tile.wgsl', source: productTileSource }, { file: 'mass_tiles.wgsl', source: massTilesSource }],
}
const BLOCKS = { name: 'mass_blocks', parts: [...SHARED_PARTS, { file: 'mass_blocks.wgsl', source: massBlocksSource }] }

/** Dense attention probability on each block, f32 [Hkv, n, maxBlocks] (spec 9, 10). */
export function blockMass({ device, memory, numbers }: AttentionHost, { q, k, rows, layout, spec }: BlockMassInput): Tensor {
  const [count] = rows.shape
  const mass = memory.make([spec.kvHeads, count, layout.maxBlocks], 'f32')
  if (count === 0) return mass
  const group = spec.heads / spec.kvHeads
  const tileRows = Math.floor(TILE / group)
  const keyTiles = Math.ceil((layout.maxBlocks * layout.blockSize) / TILE)
  const runs = (keyTiles * TILE) / RUN_KEYS
  const items = Math.ceil(count / tileRows) * spec.kvHeads
  const itemBytes = tileRows * group * runs * SUM_BYTES
  const atOnce = Math.min(items, Math.max(1, Math.floor(MOST_SUM_BYTES / Math.max(1, itemBytes))))
  const constants = { HEAD_DIM: spec.headDim, GROUP: group, THREADS }
  const [ownNumbers, listed] = [read(numbers.ofLayout(layout)), read(memory.slice(rows))]
  memory.scratch(atOnce * itemBytes, (sums) => {
    for (let firstItem = 0; firstItem < items; firstItem += atOnce) {
      const params = packParams(MassRowsParams, {
        sequences: packedSequences(layout),
        rules: rulesOf(spec),
        count,
        maxBlocks: layout.maxBlocks,
        firstItem,
        items: Math.min(atOnce, items - firstItem),
        tileRows,
        runs,
      })
      device.launch({
        kernel: TILES,
        element: elementOf(spec),
        constants: { ...constants, STAGES: productStages(device) },
        bindings: [ownNumbers, read(memory.slice(q)), read(memory.slice(k)), listed, write(sums)],
        params,
        grid: [keyTiles, Math.min(atOnce, items - firstItem), layout.sequences],
      })
      device.launch({
        kernel: BLOCKS,
        element: 'f32',
        constants,
        bindings: [ownNumbers, read(sums), listed, write(memory.slice(mass))],
        params,
        grid: gridOf(Math.min(atOnce, items - firstItem) * tileRows),
      })
    }
  })
  return mass
}
