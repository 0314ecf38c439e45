import type { SelectionLossBackwardInput, SelectionLossGradients, SelectionLossInput, Tensor } from '@phsa/core'
import { kernelName, packedSequences, rulesOf } from './call-params.js'
import { rowTiles, THREADS } from './kernel-grid.js'
import type { KernelDevice, KernelMemory } from './kernel-host.js'
import {
  type SelectionLossInput as InputParams,
  SelectionLossParams,
  SelectionLossQueryParams,
  SelectionLossRepsParams,
  SelectionLossTotalParams,
} from './kernel-params.js'
import { type ParamValues, packParams } from './param-layout.js'

/** kTotalThreads of selection_loss.cu. */
const TOTAL_THREADS = 256
/** Sub-blocks of a thread block: kOwned of selection_loss_reps.cu. */
const OWNED = 16

/** Block distillation loss, f32 [1] (spec 10). */
export function selectionLoss(device: KernelDevice, memory: KernelMemory, input: SelectionLossInput): Tensor {
  return withLoss(device, memory, input, () => undefined).loss
}

/** The loss and the gradient of the representatives; that of q is added to dq. */
export function selectionLossBackward(
  device: KernelDevice,
  memory: KernelMemory,
  given: SelectionLossBackwardInput,
): SelectionLossGradients {
  const { reps, rows, layout, spec, coefficient, dq } = given
  const dReps = memory.alloc(reps.shape, 'f32')
  const { loss } = withLoss(device, memory, given, (input) => {
    device.launch({
      kernel: kernelName('selection_loss_query', spec),
      grid: [rows.shape[0], spec.kvHeads, 1],
      block: THREADS,
      params: packParams(SelectionLossQueryParams, { input, dq: memory.address(dq), coefficient }),
    })
    const { representatives } = spec
    const tiles = rowTiles(layout.blocks, layout.sequences, Math.max(1, Math.floor(OWNED / representatives)))
    device.launch({
      kernel: kernelName('selection_loss_reps', spec),
      grid: [tiles * Math.ceil(representatives / OWNED), spec.kvHeads, 1],
      block: THREADS,
      params: packParams(SelectionLossRepsParams, { input, dReps: memory.address(dReps), coefficient }),
    })
  })
  return { loss, dReps }
}

/** Queues the loss, then what needs its intermediate results. */
function withLoss(
  device: KernelDevice,
  memory: KernelMemory,
  { q, reps, mass, rows, layout, spec }: SelectionLossInput,
  run: (input: ParamValues<typeof InputParams>) => void,
): { loss: Tensor } {
  const [count] = rows.shape
  const samples = spec.kvHeads * count
  const group = spec.heads / spec.kvHeads
  const loss = memory.make([1], 'f32')
  const words = 2 + samples * (2 + 3 * group + 2 * layout.maxBlocks)
  memory.scratch(words * Float32Array.BYTES_PER_ELEMENT, ({ address }) => {
    const at = (word: number) => address + BigInt(word * Float32Array.BYTES_PER_ELEMENT)
    const input = {
      q: memory.address(q),
      reps: memory.address(reps),
      mass: memory.address(mass),
      rows: memory.address(rows),
      totals: at(0),
      partial: at(2),
      headLogs: at(2 + samples * 2),
      blockExcesses: at(2 + samples * (2 + 2 * group)),
      headExcesses: at(2 + samples * (2 + 2 * group + 2 * layout.maxBlocks)),
      sequences: packedSequences(memory, layout),
      rules: rulesOf(spec),
      count,
      maxBlocks: layout.maxBlocks,
    }
    device.launch({
      kernel: kernelName('selection_loss', spec),
      grid: [count, spec.kvHeads, 1],
      block: THREADS,
      params: packParams(SelectionLossParams, { input }),
    })
    const params = packParams(SelectionLossTotalParams, { input, loss: memory.address(loss) })
    device.launch({ kernel: 'selection_loss_total', grid: [1, 1, 1], block: TOTAL_THREADS, params })
    run(input)
  })
  return { loss }
}
