import type { AttendBackwardInput, AttendGradients } from '@phsa/core'
import { queryMajor } from './attend.js'
import { attendBackwardHopper, hasHopperBackward } from './attend-backward-hopper.js'
import { computeDelta } from './attend-delta.js'
import { kernelName, packedSequences, rulesOf } from './call-params.js'
import { THREADS } from './kernel-grid.js'
import type { KernelDevice, KernelMemory } from './kernel-host.js'
import { KeyGradientParams, QueryGradientParams } from './kernel-params.js'
import { packParams } from './param-layout.js'
import { withSelectedLists } from './selected-lists.js'

/** Keys of a thread block, query heads of a tile and floats of padding: kKeys, kItems and kPad of attend_backward.cu. */
const KEYS = 16
const ITEMS = 32
const PAD = 4

/** Gradients of q, k and v with the visible set held fixed, the same each time (spec 5). */
export function attendBackward(device: KernelDevice, memory: KernelMemory, input: AttendBackwardInput): AttendGradients {
  const { q, k, v, selected, lse, dOut, layout, spec } = input
  if (hasHopperBackward(device, spec, layout)) return attendBackwardHopper(device, memory, input)
  const rows = layout.queryTokens * spec.heads
  const dq = memory.make(q.shape, spec.dtype)
  // Zero where no block is: rows of k past the last sequence.
  const dk = memory.alloc(k.shape, spec.dtype)
  const dv = memory.alloc(v.shape, spec.dtype)
  memory.scratch(rows * Float32Array.BYTES_PER_ELEMENT, ({ address: delta }) => {
    computeDelta(device, memory, input, delta)
    const common = {
      q: memory.address(q),
      k: memory.address(k),
      v: memory.address(v),
      lse: memory.address(lse),
      delta,
      dOut: memory.address(dOut),
      sequences: packedSequences(memory, layout),
      rules: rulesOf(spec),
    }
    device.launch({
      ...queryMajor('attend_query_gradient', spec, layout.queryTokens),
      params: packParams(QueryGradientParams, { ...common, selected: memory.address(selected), dq: memory.address(dq) }),
    })
    withSelectedLists(device, memory, selected, layout, spec, (lists) => {
      const keyTiles = Math.ceil(spec.blockSize / KEYS)
      device.launch({
        kernel: kernelName('attend_key_gradient', spec),
        grid: [layout.blocks * keyTiles, spec.kvHeads, 1],
        block: THREADS,
        sharedBytes: 4 * (2 * ITEMS * (spec.headDim + PAD) + 2 * KEYS * spec.headDim + 2 * ITEMS * KEYS),
        params: packParams(KeyGradientParams, { ...common, ...lists, dk: memory.address(dk), dv: memory.address(dv), keyTiles }),
      })
    })
  })
  return { dq, dk, dv }
}
