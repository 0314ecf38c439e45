import { checkSample, type ModelOps, type Tensor } from '@phsa/core'
import type { KernelDevice, KernelMemory } from '../attention/kernel-host.js'
import { packParams } from '../attention/param-layout.js'
import { vectorOf } from './elements.js'
import { SampleParams } from './op-params.js'

/** kSampleThreads of sample_order.cuh, kPartThreads of sample_parts.cu. */
const DRAW_THREADS = 1024
const PART_THREADS = 512
/** kHeadBins of sample_bins.cuh. */
const HEAD_BINS = 1024
/** Parts of a row: as many as fill the GPU, four thread blocks a multiprocessor; two at least, so that tests on a small one have some. */
const LEAST_PARTS = 2
const MOST_PARTS = 32
const BLOCKS_AT_ONCE = 4
/** A part is a multiple of so many logits. */
const PART_STEP = 64
/** An excess is below 1/64, and a step of this many parts fine enough for f32. */
const MOST_EXCESS_SCALE = 2 ** 20
const EXCESS_RANGE = 2 ** 32 * 64

/** Draws tokens on the device. */
export function sampleOps(device: KernelDevice, memory: KernelMemory): Pick<ModelOps, 'sample'> {
  return {
    sample(logits, control) {
      memory.checkOpen()
      checkSample(memory.owner, logits, control)
      return memory.scope(() => {
        const ids = memory.make([logits.shape[0]], 'i32')
        drawTokens(device, memory, { logits, control, ids })
        return ids
      })
    },
  }
}

function drawTokens(
  device: KernelDevice,
  memory: KernelMemory,
  { logits, control, ids }: Record<'logits' | 'control' | 'ids', Tensor>,
): void {
  const [rows, vocabulary] = logits.shape
  const wanted = Math.floor((BLOCKS_AT_ONCE * device.multiprocessors) / Math.max(1, rows))
  const parts = Math.min(MOST_PARTS, Math.max(LEAST_PARTS, wanted))
  const form = `${logits.dtype}_${vocabulary % vectorOf(logits) === 0 ? 'vector' : 'any'}`
  // f64 first; what is of 4 bytes follows.
  const sizes = [parts * 2, parts, parts, HEAD_BINS, HEAD_BINS].map((words) => rows * words * Float32Array.BYTES_PER_ELEMENT)
  const bytes = sizes.reduce((sum, size) => sum + size, 0)
  memory.scratch(bytes, ({ address }) => {
    const [rests, largest, likeliest, counts, excesses] = sizes.map(
      (_, index) => address + BigInt(sizes.slice(0, index).reduce((sum, size) => sum + size, 0)),
    )
    const params = packParams(SampleParams, {
      logits: memory.address(logits),
      control: memory.address(control),
      ids: memory.address(ids),
      rests,
      largest,
      likeliest,
      counts,
      excesses,
      vocabulary,
      parts,
      partLogits: Math.ceil(vocabulary / parts / PART_STEP) * PART_STEP,
      // Half of what would fit, because each is rounded.
      excessScale: Math.min(MOST_EXCESS_SCALE, 2 ** Math.floor(Math.log2(EXCESS_RANGE / vocabulary) - 1)),
    })
    device.launch({ kernel: `sample_largest_${form}`, grid: [parts, rows, 1], block: PART_THREADS, params })
    device.launch({ kernel: `sample_bins_${form}`, grid: [parts, rows, 1], block: PART_THREADS, params })
    device.launch({ kernel: `sample_${form}`, grid: [rows, 1, 1], block: DRAW_THREADS, params })
  })
}
