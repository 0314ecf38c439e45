import type { AttendBackwardInput, AttendGradients } from '@phsa/core'
import deltaSource from '../../kernels/attend_delta.wgsl?raw'
import gridSource from '../../kernels/grid.wgsl?raw'
import { read, write } from '../device/bindings.js'
import { gridOf } from '../device/grid.js'
import type { BufferSlice } from '../device/kernel-launch.js'
import { packParams } from '../device/param-layout.js'
import type { AttentionHost } from './attention-host.js'
import { elementOf } from './call-params.js'
import { denseChunk } from './dense-chunk.js'
import { denseGradient } from './dense-gradient.js'
import { keyGradient } from './key-gradient.js'
import { queryGradient } from './query-gradient.js'
import { invertSelected, selectedListCounts } from './selected-lists.js'

/** `Params` of attend_delta.wgsl. */
export const DeltaParams = { rows: 'u32' } as const

const DELTA = {
  name: 'attend_delta',
  parts: [
    { file: 'grid.wgsl', source: gridSource },
    { file: 'attend_delta.wgsl', source: deltaSource },
  ],
}
/** Query heads of a workgroup of attend_delta.wgsl. */
const DELTA_ROWS = 32
/** Slices begin at multiples of this, on every device. */
const ALIGNMENT = 256
const NUMBER_BYTES = 4

/**
 * Gradients of q, k and v with the visible set held fixed, the same each time (spec 5).
 * @param chunk how dense attention is cut for products of matrices; without one it takes the tiles that sparse attention does
 */
export function attendBackward(
  host: AttentionHost,
  input: AttendBackwardInput,
  chunk = denseChunk(host.device, input.spec, input.layout),
): AttendGradients {
  const { memory } = host
  const { q, k, v, layout, spec } = input
  // Zero where no kernel writes: rows past the last sequence, keys that nobody sees.
  const gradients = { dq: memory.alloc(q.shape, spec.dtype), dk: memory.alloc(k.shape, spec.dtype), dv: memory.alloc(v.shape, spec.dtype) }
  if (layout.queryTokens === 0 || layout.keyTokens === 0) return gradients
  const counts = selectedListCounts(spec, layout)
  const endsAt = aligned(layout.queryTokens * spec.heads * 2 * NUMBER_BYTES)
  const listsAt = endsAt + aligned(counts.ends * NUMBER_BYTES)
  const hasLists = !chunk && counts.entries > 0 && counts.ends > 0
  memory.scratch(hasLists ? listsAt + counts.entries * NUMBER_BYTES : endsAt, (work) => {
    computeDelta(host, input, work)
    if (hasLists) {
      invertSelected(host, spec, layout, {
        selected: memory.slice(input.selected),
        ends: { ...work, offset: work.offset + endsAt, bytes: counts.ends * NUMBER_BYTES },
        lists: { ...work, offset: work.offset + listsAt, bytes: counts.entries * NUMBER_BYTES },
      })
    }
    const lists = hasLists ? { ends: endsAt / NUMBER_BYTES, lists: listsAt / NUMBER_BYTES, chunks: counts.chunks } : undefined
    const call = { input, gradients, work, lists }
    if (chunk) {
      denseGradient(host, call, chunk)
      return
    }
    queryGradient(host, call)
    keyGradient(host, call)
  })
  return gradients
}

/** Queues lse and delta of each query head to the beginning of `work`. */
function computeDelta({ device, memory }: AttentionHost, { out, dOut, lse, layout, spec }: AttendBackwardInput, work: BufferSlice): void {
  const rows = layout.queryTokens * spec.heads
  device.launch({
    kernel: DELTA,
    element: elementOf(spec),
    constants: { HEAD_DIM: spec.headDim },
    bindings: [read(memory.slice(out)), read(memory.slice(dOut)), read(memory.slice(lse)), write(work)],
    params: packParams(DeltaParams, { rows }),
    grid: gridOf(Math.ceil(rows / DELTA_ROWS)),
  })
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT
}
