import type { Tensor } from '@phsa/core'
import gridSource from '../../kernels/grid.wgsl?raw'
import logitOrderSource from '../../kernels/logit_order.wgsl?raw'
import sampleSource from '../../kernels/sample.wgsl?raw'
import binsSource from '../../kernels/sample_bins.wgsl?raw'
import candidatesSource from '../../kernels/sample_candidates.wgsl?raw'
import largestSource from '../../kernels/sample_largest.wgsl?raw'
import largestsSource from '../../kernels/sample_largests.wgsl?raw'
import rowSource from '../../kernels/sample_row.wgsl?raw'
import scanSource from '../../kernels/sample_scan.wgsl?raw'
import { read, write } from '../device/bindings.js'
import { gridOf } from '../device/grid.js'
import type { Binding } from '../device/kernel-launch.js'
import { packParams } from '../device/param-layout.js'
import type { ShaderPart } from '../device/shader-part.js'
import { elementTypeOf, VECTOR_TYPES, vectorOf } from './element-types.js'
import type { OpHost } from './op-host.js'

/** `Params` of sample_row.wgsl. */
export const SampleParams = { vectors: 'u32', rows: 'u32', parts: 'u32', partVectors: 'u32', excessScale: 'f32' } as const

const GRID = { file: 'grid.wgsl', source: gridSource }
const LOGIT_ORDER = { file: 'logit_order.wgsl', source: logitOrderSource }
const ROW = { file: 'sample_row.wgsl', source: rowSource }
const LARGESTS = { file: 'sample_largests.wgsl', source: largestsSource }
const SCAN = { file: 'sample_scan.wgsl', source: scanSource }
const LARGEST = [ROW, { file: 'sample_largest.wgsl', source: largestSource }]
const BINS = [ROW, LARGESTS, { file: 'sample_bins.wgsl', source: binsSource }]
const CANDIDATES = [ROW, LARGESTS, SCAN, { file: 'sample_candidates.wgsl', source: candidatesSource }]
const SAMPLE = [ROW, LARGESTS, SCAN, { file: 'sample.wgsl', source: sampleSource }]
/** Vectors of a part of a row, which one workgroup takes: eight a thread. */
const LEAST_PART_VECTORS = 2048
const MOST_PARTS = 64
/** Bytes of a part's largest key and its id. */
const LARGEST_BYTES = 8
/** ROW_WORDS of sample_row.wgsl, in bytes. */
const ROW_BYTES = (2 * 1024 + 4) * 4
/** An excess is below 1/32, and a step of this many parts fine enough for f32. */
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
  const params = packParams(SampleParams, {
    vectors,
    rows,
    parts,
    partVectors,
    // Half of what would fit, because each is rounded.
    excessScale: Math.min(MOST_EXCESS_SCALE, 2 ** Math.floor(Math.log2(EXCESS_RANGE / vocabulary) - 1)),
  })
  const launch = (name: string, own: readonly ShaderPart[], workgroups: number, bindings: readonly Binding[]) =>
    device.launch({
      kernel: { name, parts: [GRID, VECTOR_TYPES[vector], LOGIT_ORDER, ...own] },
      element: elementTypeOf(logits),
      constants: {},
      bindings: [read(memory.slice(logits)), read(memory.slice(control)), ...bindings],
      params,
      grid: gridOf(rows, workgroups),
    })
  memory.scratch(rows * parts * LARGEST_BYTES, (largests) =>
    memory.scratch(rows * ROW_BYTES, (bins) =>
      memory.scratch(rows * vocabulary * Uint32Array.BYTES_PER_ELEMENT, (candidates) => {
        launch('sample_largest', LARGEST, parts, [write(largests), write(bins)])
        launch('sample_bins', BINS, parts, [read(largests), write(bins)])
        launch('sample_candidates', CANDIDATES, parts, [read(largests), write(bins), write(candidates)])
        launch('sample', SAMPLE, 1, [read(largests), read(bins), read(candidates), write(memory.slice(ids))])
      }),
    ),
  )
  return ids
}
