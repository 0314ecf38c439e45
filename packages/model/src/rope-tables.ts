import type { Memory, RopeTable } from '@phsa/core'

/**
 * Cosines and sines of positions 0 to positions - 1, computed in float64 so that large positions keep their phase (spec 1): both [P, D / 2].
 * Column c turns by position / theta^(2c / D).
 */
export function ropeAngles(positions: number, headDim: number, theta: number): { cos: Float32Array; sin: Float32Array } {
  const half = headDim / 2
  const cos = new Float32Array(positions * half)
  const sin = new Float32Array(positions * half)
  for (let column = 0; column < half; column++) {
    const frequency = theta ** (-column / half)
    for (let position = 0; position < positions; position++) {
      cos[position * half + column] = Math.cos(position * frequency)
      sin[position * half + column] = Math.sin(position * frequency)
    }
  }
  return { cos, sin }
}

/** Uploads the rotary table of `positions` positions; the caller disposes both tensors, or a scope does. */
export function uploadRopeTable(memory: Memory, positions: number, headDim: number, theta: number): RopeTable {
  const { cos, sin } = ropeAngles(positions, headDim, theta)
  return { cos: memory.upload(cos, [positions, headDim / 2]), sin: memory.upload(sin, [positions, headDim / 2]) }
}
