import type { AttendBackwardInput } from '@phsa/core'
import { kernelName } from './call-params.js'
import { blocksOfWarps, THREADS } from './kernel-grid.js'
import type { KernelDevice, KernelMemory } from './kernel-host.js'
import { DeltaParams } from './kernel-params.js'
import { packParams } from './param-layout.js'

/** Queues delta, the sum over D of out * dOut, as f32 [Tq, Hq] at the address `delta`. */
export function computeDelta(
  device: KernelDevice,
  memory: KernelMemory,
  { out, dOut, layout, spec }: AttendBackwardInput,
  delta: bigint,
): void {
  const rows = layout.queryTokens * spec.heads
  device.launch({
    kernel: kernelName('attend_delta', spec),
    grid: [blocksOfWarps(rows), 1, 1],
    block: THREADS,
    params: packParams(DeltaParams, { out: memory.address(out), dOut: memory.address(dOut), delta, rows }),
  })
}
