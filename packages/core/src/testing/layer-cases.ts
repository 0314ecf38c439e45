import { finishLayer, projectHeads } from '../layer-halves.js'
import type { OpCase, OpTensor } from './op-case.js'
import { integers, random } from './op-inputs.js'

const EPSILON = 1e-6
const POSITIONS = 32

/** Extents of a small layer. */
interface LayerShape {
  readonly tokens: number
  readonly width: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly inner: number
}

/**
 * Both halves of a layer, as a backend's own operations compute them or composed of the others: few tokens, as in decoding, up to more than any
 * such operation takes; widths of which no power of two is a divisor besides 8, and some that are odd.
 */
const SHAPES: readonly LayerShape[] = [
  { tokens: 1, width: 64, heads: 2, kvHeads: 1, headDim: 32, inner: 96 },
  { tokens: 3, width: 520, heads: 3, kvHeads: 1, headDim: 32, inner: 40 },
  { tokens: 16, width: 72, heads: 2, kvHeads: 2, headDim: 64, inner: 8 },
  { tokens: 21, width: 136, heads: 1, kvHeads: 1, headDim: 128, inner: 200 },
  { tokens: 70, width: 40, heads: 4, kvHeads: 2, headDim: 32, inner: 24 },
  { tokens: 2, width: 33, heads: 2, kvHeads: 1, headDim: 14, inner: 21 },
  { tokens: 0, width: 64, heads: 2, kvHeads: 1, headDim: 32, inner: 96 },
]

/** `projectHeads` and `finishLayer`. */
export function layerCases(): OpCase[] {
  return SHAPES.flatMap((shape) => [headsCase(shape), endCase(shape)])
}

function headsCase({ tokens, width, heads, kvHeads, headDim }: LayerShape): OpCase {
  const angles = Array.from({ length: (POSITIONS * headDim) / 2 }, (_, index) => index / 7)
  const table = (of: (angle: number) => number): OpTensor => ({
    data: Float32Array.from(angles, of),
    shape: [POSITIONS, headDim / 2],
    kind: 'f32',
  })
  return {
    name: `project-heads-${tokens}x${width}`,
    inputs: {
      x: random('x', [tokens, width], 3),
      norm: random('norm', [width]),
      q: random('q', [heads * headDim, width], 0.1),
      k: random('k', [kvHeads * headDim, width], 0.1),
      v: random('v', [kvHeads * headDim, width], 0.1),
      qNorm: random('qNorm', [headDim]),
      kNorm: random('kNorm', [headDim]),
      positions: integers(Array.from({ length: tokens }, (_, token) => (5 * token + 3) % POSITIONS)),
      cos: table(Math.cos),
      sin: table(Math.sin),
    },
    accumulators: {},
    run: (ops, { x, norm, q, k, v, qNorm, kNorm, positions, cos, sin }, memory) => ({
      ...projectHeads({ ops, memory }, { x, norm, q, k, v, qNorm, kNorm, positions, rope: { cos, sin }, epsilon: EPSILON }),
    }),
  }
}

function endCase({ tokens, width, heads, headDim, inner }: LayerShape): OpCase {
  return {
    name: `finish-layer-${tokens}x${width}`,
    inputs: {
      x: random('x', [tokens, width], 3),
      out: random('out', [tokens, heads, headDim]),
      o: random('o', [width, heads * headDim], 0.1),
      norm: random('norm', [width]),
      gate: random('gate', [inner, width], 0.1),
      up: random('up', [inner, width], 0.1),
      down: random('down', [width, inner], 0.1),
    },
    accumulators: {},
    run: (ops, { x, out, o, norm, gate, up, down }, memory) => ({
      output: finishLayer({ ops, memory }, { x, out, o, norm, gate, up, down, epsilon: EPSILON }),
    }),
  }
}
