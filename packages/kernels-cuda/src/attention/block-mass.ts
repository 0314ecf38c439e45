import type { BlockMassInput, Tensor } from '@phsa/core'
import { kernelName, packedSequences, rulesOf } from './call-params.js'
import { THREADS } from './kernel-grid.js'
import type { KernelDevice, KernelMemory } from './kernel-host.js'
import { BlockMassParams } from './kernel-params.js'
import { packParams } from './param-layout.js'

/** Dense attention probability on each block, f32 [Hkv, n, maxBlocks] (spec 9, 10). */
export function blockMass(device: KernelDevice, memory: KernelMemory, { q, k, rows, layout, spec }: BlockMassInput): Tensor {
  const [count] = rows.shape
  const mass = memory.alloc([spec.kvHeads, count, layout.maxBlocks], 'f32')
  device.launch({
    kernel: kernelName('block_mass', spec),
    grid: [count, spec.kvHeads, 1],
    block: THREADS,
    params: packParams(BlockMassParams, {
      q: memory.address(q),
      k: memory.address(k),
      rows: memory.address(rows),
      mass: memory.address(mass),
      sequences: packedSequences(memory, layout),
      rules: rulesOf(spec),
      count,
      maxBlocks: layout.maxBlocks,
    }),
  })
  return mass
}
