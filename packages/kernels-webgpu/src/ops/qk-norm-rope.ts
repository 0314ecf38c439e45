import { type QkNormRopeInput, type Tensor, UnsupportedError } from '@phsa/core'
import gridSource from '../../kernels/grid.wgsl?raw'
import headRowsSource from '../../kernels/head_rows.wgsl?raw'
import qkNormRopeSource from '../../kernels/qk_norm_rope.wgsl?raw'
import qkNormRopeBackwardSource from '../../kernels/qk_norm_rope_backward.wgsl?raw'
import { read, write } from '../device/bindings.js'
import { gridOf } from '../device/grid.js'
import { packParams } from '../device/param-layout.js'
import { elementTypeOf, vectorOf, vectorTypesWith } from './element-types.js'
import { addPartialSums } from './norm-gradient.js'
import type { OpHost } from './op-host.js'

/** `Params` of qk_norm_rope.wgsl. */
export const QkNormRopeParams = { rows: 'u32', heads: 'u32', vectors: 'u32', inverseWidth: 'f32', epsilon: 'f32' } as const
/** `Params` of qk_norm_rope_backward.wgsl. */
export const QkNormRopeBackwardParams = {
  rows: 'u32',
  heads: 'u32',
  vectors: 'u32',
  gridRows: 'u32',
  inverseWidth: 'f32',
  epsilon: 'f32',
} as const

const GRID = { file: 'grid.wgsl', source: gridSource }
const WEIGHT_TYPES = vectorTypesWith('Weight')
const HEAD_ROWS = { file: 'head_rows.wgsl', source: headRowsSource }
const QK_NORM_ROPE = { file: 'qk_norm_rope.wgsl', source: qkNormRopeSource }
const QK_NORM_ROPE_BACKWARD = { file: 'qk_norm_rope_backward.wgsl', source: qkNormRopeBackwardSource }
/** Threads of a workgroup. */
const THREADS = 256
/** Workgroups backward at most: enough for every GPU, few enough to add up. */
const MOST_GROUPS = 512

/** RMS norm over each head, then rotation: [T, H, D]. */
export function qkNormRope({ device, memory }: OpHost, input: QkNormRopeInput): Tensor {
  const { x, weight, epsilon } = input
  const shape = rowShape(x)
  const { rows, heads, vectors, lanes, inverseWidth } = shape
  const y = memory.make(x.shape, x.dtype)
  device.launch({
    kernel: { name: 'qk_norm_rope', parts: [GRID, WEIGHT_TYPES[elementTypeOf(weight)][shape.vector], HEAD_ROWS, QK_NORM_ROPE] },
    element: elementTypeOf(x),
    constants: { LANES: lanes },
    bindings: [...readInputs(memory, input), write(memory.slice(y))],
    params: packParams(QkNormRopeParams, { rows, heads, vectors, inverseWidth, epsilon }),
    grid: gridOf(Math.ceil(rows / (THREADS / lanes))),
  })
  return y
}

/** Returns dx; adds to dWeight [D]. */
export function qkNormRopeBackward(host: OpHost, dy: Tensor, input: QkNormRopeInput, dWeight: Tensor): Tensor {
  const { device, memory } = host
  const { x, weight, epsilon } = input
  const shape = rowShape(x)
  const { rows, heads, vectors, lanes, inverseWidth } = shape
  const dx = memory.make(x.shape, x.dtype)
  const groups = Math.min(Math.ceil(rows / (THREADS / lanes)), MOST_GROUPS)
  if (groups === 0) return dx
  addPartialSums(host, dWeight, groups, (partials) =>
    device.launch({
      kernel: {
        name: 'qk_norm_rope_backward',
        parts: [WEIGHT_TYPES[elementTypeOf(weight)][shape.vector], HEAD_ROWS, QK_NORM_ROPE_BACKWARD],
      },
      element: elementTypeOf(x),
      constants: { LANES: lanes },
      bindings: [read(memory.slice(dy)), ...readInputs(memory, input), write(memory.slice(dx)), write(partials)],
      params: packParams(QkNormRopeBackwardParams, {
        rows,
        heads,
        vectors,
        gridRows: groups * (THREADS / lanes),
        inverseWidth,
        epsilon,
      }),
      grid: [groups, 1, 1],
    }),
  )
  return dx
}

function readInputs(memory: OpHost['memory'], { x, weight, positions, rope }: QkNormRopeInput) {
  return [x, weight, positions, rope.cos, rope.sin].map((tensor) => read(memory.slice(tensor)))
}

/** How rows of heads are shared out: threads of a row, each with a vector of both halves. */
function rowShape(x: Tensor) {
  const [tokens, heads, headDim] = x.shape
  const vector = vectorOf(headDim / 2)
  const vectors = headDim / 2 / vector
  if (vectors > THREADS) {
    const most = 2 * vector * THREADS
    throw new UnsupportedError(
      'head-dim',
      `x has head dimension ${headDim}; webgpu rotates heads of up to ${most}, or 2048 where 8 divides it.`,
    )
  }
  const lanes = 2 ** Math.ceil(Math.log2(Math.max(1, vectors)))
  return { rows: vectors === 0 ? 0 : tokens * heads, heads, vector, vectors, lanes, inverseWidth: 1 / headDim }
}
