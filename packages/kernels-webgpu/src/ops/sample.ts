import type { Tensor } from '@phsa/core'
import gridSource from '../../kernels/grid.wgsl?raw'
import logitOrderSource from '../../kernels/logit_order.wgsl?raw'
import sampleSource from '../../kernels/sample.wgsl?raw'
import sampleLargestSource from '../../kernels/sample_largest.wgsl?raw'
import { read, write } from '../device/bindings.js'
import { gridOf } from '../device/grid.js'
import { packParams } from '../device/param-layout.js'
import { elementTypeOf, VECTOR_TYPES, vectorOf } from './element-types.js'
import type { OpHost } from './op-host.js'

/** `Params` of sample_largest.wgsl. */
export const SampleLargestParams = { vectors: 'u32', rows: 'u32', parts: 'u32', partVectors: 'u32' } as const
/** `Params` of sample.wgsl. */
export const SampleParams = { vectors: 'u32', rows: 'u32', parts: 'u32', excessScale: 'f32' } as const

const GRID = { file: 'grid.wgsl', source: gridSource }
const LOGIT_ORDER = { file: 'logit_order.wgsl', source: logitOrderSource }
const SAMPLE_LARGEST = { file: 'sample_largest.wgsl', source: sampleLargestSource }
const SAMPLE = { file: 'sample.wgsl', source: sampleSource }
/** Vectors of a part of a row whose largest logit one workgroup finds: eight a thread. */
const LEAST_PART_VECTORS = 2048
const MOST_PARTS = 64
/** Bytes of a part's largest key and its id. */
const LARGEST_BYTES = 8
/** An excess of sample.wgsl is below 1/32, and a step of this many parts fine enough for f32. */
const MOST_EXCESS_SCALE = 2 ** 20
const EXCESS_RANGE = 2 ** 32 * 32

/** Draws a token a row of logits [S, V]: i32 [S]. */
export function sample({ device, memory }: OpHost, logits: Tensor, control: Tensor): Tensor {
  const [rows, vocabulary] = logits.shape
  const ids = memory.make([rows], 'i32')
  const vector = vectorOf(vocabulary)
  const vectors = vocabulary / vector
  const partVectors = Math.max(LEAST_PART_VECTORS, Math.ceil(vectors / MOST_PARTS))
  const parts = Math.ceil(vectors / partVectors)
  const shared = { element: elementTypeOf(logits), constants: {} }
  memory.scratch(rows * parts * LARGEST_BYTES, (largests) => {
    device.launch({
      ...shared,
      kernel: { name: 'sample_largest', parts: [GRID, VECTOR_TYPES[vector], LOGIT_ORDER, SAMPLE_LARGEST] },
      bindings: [read(memory.slice(logits)), write(largests)],
      params: packParams(SampleLargestParams, { vectors, rows, parts, partVectors }),
      grid: gridOf(rows, parts),
    })
    device.launch({
      ...shared,
      kernel: { name: 'sample', parts: [GRID, VECTOR_TYPES[vector], LOGIT_ORDER, SAMPLE] },
      bindings: [read(memory.slice(logits)), read(memory.slice(control)), read(largests), write(memory.slice(ids))],
      params: packParams(SampleParams, {
        vectors,
        rows,
        parts,
        // Half of what would fit, because each is rounded.
        excessScale: Math.min(MOST_EXCESS_SCALE, 2 ** Math.floor(Math.log2(EXCESS_RANGE / vocabulary) - 1)),
      }),
      grid: gridOf(rows),
    })
  })
  return ids
}
