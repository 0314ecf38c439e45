import { checkQkNormRope, checkQkNormRopeBackward, type ModelOps, type QkNormRopeInput } from '@phsa/core'
import type { TfjsMemory } from '../memory/tfjs-memory.js'

/**
 * RMS norm over each head, then rotation of the halves. On the host in one pass: the result goes to attention, which gathers there, and
 * the engines would need ten passes. Each row is a call, because V8 gives up what it has optimised within a loop when the loop ends.
 */
export function qkNormRopeOps(memory: TfjsMemory): Pick<ModelOps, 'qkNormRope' | 'qkNormRopeBackward'> {
  const { owner } = memory
  return {
    qkNormRope(input) {
      memory.checkOpen()
      checkQkNormRope(owner, input)
      return memory.run(() => {
        const arrays = readInput(memory, input)
        const y = new Float32Array(arrays.x.length)
        const rows = input.x.shape[0] * input.x.shape[1]
        for (let row = 0; row < rows; row++) turnRow(arrays, row, y)
        return memory.fromHost(y, input.x.shape)
      })
    },

    qkNormRopeBackward(dy, input, dWeight) {
      memory.checkOpen()
      checkQkNormRopeBackward(owner, dy, input, dWeight)
      return memory.run(() => {
        const weightSums = memory.writable(dWeight)
        const arrays = readInput(memory, input)
        const changes = memory.host(dy)
        const dx = new Float32Array(arrays.x.length)
        const width = 2 * arrays.half
        const rows = input.x.shape[0] * input.x.shape[1]
        // In float64 over all rows.
        const weightChange = new Float64Array(width)
        const turned = new Float64Array(width)
        for (let row = 0; row < rows; row++) turnRowBack(arrays, row, changes, dx, weightChange, turned)
        for (let d = 0; d < width; d++) weightSums[d] += weightChange[d]
        return memory.fromHost(dx, input.x.shape)
      })
    },
  }
}

interface HostInput {
  readonly x: Float32Array
  readonly weight: Float32Array
  readonly cos: Float32Array
  readonly sin: Float32Array
  readonly positions: Int32Array
  readonly heads: number
  /** D / 2 */
  readonly half: number
  readonly epsilon: number
}

function readInput(memory: TfjsMemory, { x, weight, positions, rope, epsilon }: QkNormRopeInput): HostInput {
  return {
    x: memory.host(x),
    weight: memory.host(weight),
    cos: memory.host(rope.cos),
    sin: memory.host(rope.sin),
    positions: memory.integers(positions),
    heads: x.shape[1],
    half: x.shape[2] / 2,
    epsilon,
  }
}

/** One head of one token. */
function turnRow({ x, weight, cos: cosines, sin: sines, positions, heads, half, epsilon }: HostInput, row: number, y: Float32Array): void {
  const start = row * 2 * half
  const angle = positions[Math.floor(row / heads)] * half
  const inverse = inverseNorm(x, start, 2 * half, epsilon)
  for (let d = 0; d < half; d++) {
    const low = x[start + d] * inverse * weight[d]
    const high = x[start + half + d] * inverse * weight[half + d]
    const cos = cosines[angle + d]
    const sin = sines[angle + d]
    y[start + d] = low * cos - high * sin
    y[start + half + d] = high * cos + low * sin
  }
}

/**
 * Gradient of one head of one token.
 * @param weightChange gradient of the weight, added to: [D]
 * @param turned scratch space: gradient of the normalised row, before its weight, [D]
 */
function turnRowBack(
  { x, weight, cos: cosines, sin: sines, positions, heads, half, epsilon }: HostInput,
  row: number,
  changes: Float32Array,
  dx: Float32Array,
  weightChange: Float64Array,
  turned: Float64Array,
): void {
  const start = row * 2 * half
  const angle = positions[Math.floor(row / heads)] * half
  const inverse = inverseNorm(x, start, 2 * half, epsilon)
  let along = 0
  for (let d = 0; d < half; d++) {
    const cos = cosines[angle + d]
    const sin = sines[angle + d]
    const low = changes[start + d] * cos + changes[start + half + d] * sin
    const high = changes[start + half + d] * cos - changes[start + d] * sin
    const normalLow = x[start + d] * inverse
    const normalHigh = x[start + half + d] * inverse
    weightChange[d] += low * normalLow
    weightChange[half + d] += high * normalHigh
    turned[d] = low * weight[d]
    turned[half + d] = high * weight[half + d]
    along += turned[d] * normalLow + turned[half + d] * normalHigh
  }
  const share = (along * inverse) / (2 * half)
  for (let d = 0; d < 2 * half; d++) dx[start + d] = inverse * (turned[d] - x[start + d] * share)
}

function inverseNorm(x: Float32Array, start: number, width: number, epsilon: number): number {
  let squares = 0
  for (let at = start; at < start + width; at++) squares += x[at] * x[at]
  return 1 / Math.sqrt(squares / width + epsilon)
}
