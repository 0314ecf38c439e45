import { checkQkNormRope, checkQkNormRopeBackward, type ModelOps, type QkNormRopeInput } from '@phsa/core'
import type { TfjsMemory } from '../memory/tfjs-memory.js'

/**
 * RMS norm over each head, then rotation of the halves. On the host in one pass: the result goes to attention, which gathers there, and
 * the engines would need ten passes.
 */
export function qkNormRopeOps(memory: TfjsMemory): Pick<ModelOps, 'qkNormRope' | 'qkNormRopeBackward'> {
  const { owner } = memory
  return {
    qkNormRope(input) {
      memory.checkOpen()
      checkQkNormRope(owner, input)
      return memory.run(() => {
        const arrays = readInput(memory, input)
        const { x, weight, half, cos: cosines, sin: sines } = arrays
        const y = new Float32Array(x.length)
        forEachHead(arrays, (start, angle) => {
          const inverse = inverseNorm(x, start, 2 * half, input.epsilon)
          for (let d = 0; d < half; d++) {
            const low = x[start + d] * inverse * weight[d]
            const high = x[start + half + d] * inverse * weight[half + d]
            const cos = cosines[angle + d]
            const sin = sines[angle + d]
            y[start + d] = low * cos - high * sin
            y[start + half + d] = high * cos + low * sin
          }
        })
        return memory.fromHost(y, input.x.shape)
      })
    },

    qkNormRopeBackward(dy, input, dWeight) {
      memory.checkOpen()
      checkQkNormRopeBackward(owner, dy, input, dWeight)
      return memory.run(() => {
        const weightSums = memory.writable(dWeight)
        const arrays = readInput(memory, input)
        const { x, weight, half, cos: cosines, sin: sines } = arrays
        const changes = memory.host(dy)
        const dx = new Float32Array(x.length)
        // Gradient of the normalised row, before its weight; and the weight's gradient, in float64 over all rows.
        const turned = new Float64Array(2 * half)
        const weightChange = new Float64Array(2 * half)
        forEachHead(arrays, (start, angle) => {
          const inverse = inverseNorm(x, start, 2 * half, input.epsilon)
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
        })
        for (let d = 0; d < 2 * half; d++) weightSums[d] += weightChange[d]
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
}

function readInput(memory: TfjsMemory, { x, weight, positions, rope }: QkNormRopeInput): HostInput {
  return {
    x: memory.host(x),
    weight: memory.host(weight),
    cos: memory.host(rope.cos),
    sin: memory.host(rope.sin),
    positions: memory.integers(positions),
    heads: x.shape[1],
    half: x.shape[2] / 2,
  }
}

/** Visits each head of each token: offset in x, and offset of the token's angles in the tables. */
function forEachHead({ positions, heads, half }: HostInput, visit: (start: number, angle: number) => void): void {
  for (let token = 0; token < positions.length; token++) {
    for (let head = 0; head < heads; head++) visit((token * heads + head) * 2 * half, positions[token] * half)
  }
}

function inverseNorm(x: Float32Array, start: number, width: number, epsilon: number): number {
  let squares = 0
  for (let at = start; at < start + width; at++) squares += x[at] * x[at]
  return 1 / Math.sqrt(squares / width + epsilon)
}
